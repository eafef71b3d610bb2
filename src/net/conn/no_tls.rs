//! The replacement of TLS in a library that is built without it: types without values, and one error.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::net::sys::Recv;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

#[derive(Debug)]
pub enum Tls {}

#[derive(Debug, Default)]
pub struct TlsSessions {}

impl Tls {
    pub fn load(config: &Arc<Config>) -> Result<Option<Tls>> {
        if config.tls {
            return Err(Error::invalid(
                "the url enables TLS, but this library was built without TLS support",
            ));
        }
        Ok(None)
    }

    pub fn of_child(&self) -> Tls {
        match *self {}
    }

    pub fn begin(&self, _: &TlsSessions, _: &str) -> Result<Box<TlsSession>> {
        match *self {}
    }
}

#[derive(Debug)]
pub enum TlsSession {}

impl TlsSession {
    pub fn handshake(&mut self, _: RawFd) -> io::Result<bool> {
        match *self {}
    }

    pub fn wants_write(&self) -> bool {
        match *self {}
    }

    pub fn has_buffered(&self) -> bool {
        match *self {}
    }

    pub fn send(&mut self, _: RawFd, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub fn recv(&mut self, _: RawFd, _: &mut Vec<u8>, _: usize, _: Recv) -> io::Result<usize> {
        match *self {}
    }
}

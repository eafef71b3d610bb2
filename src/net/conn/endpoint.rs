//! The address of a node, and how a stream to it is opened.

use super::security::Security;
use super::tls::TlsSessions;
use crate::address::Address;
use crate::config::Config;
use crate::net::resolver::Resolver;
use crate::net::sys::DescriptorRegistry;
use std::sync::Arc;

/// The settings that all streams to one node share.
#[derive(Debug)]
pub struct Endpoint {
    pub address: Address,
    pub config: Arc<Config>,
    pub security: Arc<Security>,
    pub(super) sessions: TlsSessions,
    pub(super) descriptors: Arc<DescriptorRegistry>,
    pub(super) resolver: Resolver,
}

impl Endpoint {
    pub fn new(
        address: Address,
        config: Arc<Config>,
        security: Arc<Security>,
        descriptors: Arc<DescriptorRegistry>,
    ) -> Endpoint {
        Endpoint {
            address,
            config,
            security,
            sessions: TlsSessions::default(),
            descriptors,
            resolver: Resolver::default(),
        }
    }

    /// The next connection resolves the host's name again. False if it has no name.
    pub fn resolve_again(&self) -> bool {
        self.resolver.forget()
    }

    /// See [`Resolver::avoid_connected`].
    pub fn avoid_connected(&self) -> bool {
        self.resolver.avoid_connected()
    }

    /// See [`Resolver::has_other`].
    pub fn has_other_address(&self) -> bool {
        self.resolver.has_other()
    }

    /// Whether the address may stand for several nodes, because its name has several addresses. With TLS it stands for
    /// the one whose certificate has the name.
    pub fn is_ambiguous(&self) -> bool {
        self.security.tls.is_none()
            && self.resolver.has_several()
            && self.config.address_map.apply(&self.address) == self.address
    }
}

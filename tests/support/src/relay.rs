//! A proxy that serves commands on keys and knows nothing of clusters and connections.

use crate::wire::{Command, array, bulk, take_command};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// What the proxy does not know.
const UNKNOWN: [&[u8]; 9] = [
    b"HELLO",
    b"CLIENT",
    b"CLUSTER",
    b"READONLY",
    b"READWRITE",
    b"ASKING",
    b"INFO",
    b"ROLE",
    b"COMMAND",
];

/// Starts a proxy in front of the server at this port of 127.0.0.1. Returns its port. It ends with the process.
pub fn start(to: u16) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A connection ends with either side.
            std::thread::spawn(move || serve(client, to));
        }
    });
    Ok(port)
}

/// Forwards one command after the other, and answers unknown ones.
fn serve(mut client: TcpStream, to: u16) -> io::Result<()> {
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", to))?);
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(command) = take_command(&mut received).map_err(io::Error::other)? {
            client.write_all(&answer(&command, &mut server)?)?;
        }
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            n => received.extend_from_slice(&buffer[..n]),
        }
    }
}

fn answer(command: &Command, server: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let name = command.first().map(|name| name.to_ascii_uppercase());
    if UNKNOWN
        .iter()
        .any(|unknown| name.as_deref() == Some(unknown))
    {
        return Ok(b"-ERR unknown command\r\n".to_vec());
    }
    let words: Vec<_> = command.iter().map(bulk).collect();
    server.get_mut().write_all(&array(&words))?;
    let mut reply = Vec::new();
    copy_reply(server, &mut reply)?;
    Ok(reply)
}

/// Reads one RESP2 reply.
fn copy_reply(server: &mut BufReader<TcpStream>, reply: &mut Vec<u8>) -> io::Result<()> {
    let start = reply.len();
    if server.read_until(b'\n', reply)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = String::from_utf8_lossy(&reply[start..]).into_owned();
    let number = || line[1..].trim().parse::<i64>().map_err(io::Error::other);
    match line.as_bytes().first() {
        // Text with its line end; a null has none.
        Some(b'$') if number()? >= 0 => {
            let mut text = vec![0; number()? as usize + 2];
            server.read_exact(&mut text)?;
            reply.extend(text);
        }
        Some(b'*') => {
            for _ in 0..number()? {
                copy_reply(server, reply)?;
            }
        }
        _ => {}
    }
    Ok(())
}

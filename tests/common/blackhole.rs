//! A port that never answers a connect.

use socket2::{Domain, SockAddr, Socket, Type};
use std::net::SocketAddr;
use std::time::Duration;

/// Its accept queue is full, so that a connect never completes.
pub struct Blackhole {
    pub address: SocketAddr,
    _sockets: Vec<Socket>,
}

impl Blackhole {
    pub fn new() -> Blackhole {
        Blackhole::at("127.0.0.1", 0)
    }

    /// At this address and port; 0 stands for a free one.
    pub fn at(ip: &str, port: u16) -> Blackhole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        let address = SocketAddr::new(ip.parse().unwrap(), port);
        listener.bind(&SockAddr::from(address)).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![listener];
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let full = socket
                .connect_timeout(&SockAddr::from(address), Duration::from_millis(100))
                .is_err();
            sockets.push(socket);
            if full {
                return Blackhole {
                    address,
                    _sockets: sockets,
                };
            }
        }
    }

    /// Whether a socket of this process is connecting to it.
    pub fn is_dialled(&self) -> bool {
        let port = format!(":{:04X} 02 ", self.address.port());
        std::fs::read_to_string("/proc/self/net/tcp")
            .unwrap()
            .lines()
            .any(|line| {
                // "sl local remote state": 02 is SYN_SENT.
                line.contains(&port)
            })
    }
}

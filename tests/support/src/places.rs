//! One server of each kind on which a program runs unchanged.

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::find::Found;
use crate::relay;
use crate::server::Server;

/// A standalone server, at TCP and at a unix socket; a cluster; a cluster with several databases; a proxy.
#[derive(Debug)]
pub struct Places {
    server: Server,
    cluster: Cluster,
    databases: Option<Cluster>,
    proxy: u16,
}

impl Places {
    /// Starts all of them. Only Valkey 9 has clusters with several databases: without it that one is left out.
    pub fn start(valkey: Option<&Found>) -> Result<Places> {
        let server = Server::builder().unix_socket().start()?;
        let databases = match valkey {
            Some(found) => {
                let builder = Cluster::builder().option("cluster-databases", "16");
                Some(builder.server(found.clone()).start()?)
            }
            None => None,
        };
        let proxy = relay::start(server.port());
        Ok(Places {
            cluster: Cluster::start()?,
            databases,
            proxy: proxy.map_err(|e| Error::new(format!("cannot start a proxy: {e}")))?,
            server,
        })
    }

    /// A word for each place, and its URL.
    pub fn urls(&self) -> Vec<(&'static str, String)> {
        let server = self.server.url();
        let socket = self.server.socket();
        let socket = socket.display();
        let mut urls = vec![
            ("standalone", server.clone()),
            ("standalone-database", format!("{server}/3")),
            ("unix", format!("unix://{socket}")),
            ("unix-database", format!("unix://{socket}?database=4")),
            ("cluster", self.cluster.url()),
            (
                "proxy",
                format!("redis://127.0.0.1:{}?cluster=no", self.proxy),
            ),
            (
                "proxy-database",
                format!("redis://127.0.0.1:{}/5?cluster=no", self.proxy),
            ),
        ];
        let databases = self.databases.as_ref();
        urls.extend(databases.map(|cluster| ("cluster-database", format!("{}/3", cluster.url()))));
        urls
    }

    /// Stops all of them.
    pub fn end(&self) {
        self.server.end();
        self.cluster.end();
        if let Some(cluster) = &self.databases {
            cluster.end();
        }
    }
}

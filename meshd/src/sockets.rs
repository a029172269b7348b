//! Everything meshd listens on, opened before any of it is served.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::{Config, MeshMode};
use crate::mesh::socket::MeshSocket;
use crate::ports_file::Ports;
use crate::server::listen::{self, ListenError, UnixSocket};

/// The open sockets.
#[derive(Debug)]
pub struct Sockets {
    /// The Rate Limit Service.
    pub grpc: TcpListener,
    /// The same on a Unix socket.
    pub grpc_socket: Option<UnixSocket>,
    /// The HTTP endpoints beside it.
    pub http: TcpListener,
    /// For operators.
    pub admin: TcpListener,
    /// For scrapers alone, where there is such a port.
    pub metrics: Option<TcpListener>,
    /// For peers; none when the mesh is off.
    pub mesh: Option<MeshSocket>,
}

impl Sockets {
    /// Opens all that the configuration asks for.
    ///
    /// # Errors
    ///
    /// [`ListenError`] names the key of the configuration that cannot be had.
    pub fn open(config: &Config) -> Result<Self, ListenError> {
        let server = &config.server;
        let admin = SocketAddr::new(config.admin.address, config.admin.port);
        Ok(Self {
            grpc: listen::tcp("server.grpc_port", server.grpc_bind())?,
            grpc_socket: server
                .grpc_socket
                .as_deref()
                .map(UnixSocket::bind)
                .transpose()?,
            http: listen::tcp("server.http_port", server.http_bind())?,
            admin: listen::tcp("admin.port", admin)?,
            metrics: config
                .metrics
                .bind
                .map(|address| listen::tcp("metrics.bind", address))
                .transpose()?,
            mesh: (config.mesh.mode() == MeshMode::On)
                .then(|| MeshSocket::bind(&config.mesh))
                .transpose()?,
        })
    }

    /// The ports that were chosen.
    ///
    /// # Errors
    ///
    /// When the operating system does not tell, which it always does.
    pub fn ports(&self) -> io::Result<Ports> {
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        Ok(Ports {
            grpc: port(&self.grpc)?,
            http: port(&self.http)?,
            admin: port(&self.admin)?,
            metrics: self.metrics.as_ref().map(port).transpose()?,
            mesh: self.mesh.as_ref().map(|mesh| mesh.local_address().port()),
        })
    }
}

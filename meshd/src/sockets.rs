//! Everything meshd listens on, opened before any of it is served.

use std::io;
use std::net::{SocketAddr, TcpListener};

use crate::config::{Config, MeshMode};
use crate::handover::belongings::{Belongings, Role};
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
    /// Opens all that the configuration asks for, and is not among what another meshd leaves.
    ///
    /// # Errors
    ///
    /// [`ListenError`] names the key of the configuration that cannot be had.
    pub fn open(config: &Config, left: &mut Belongings) -> Result<Self, ListenError> {
        let server = &config.server;
        let socket_mode = server.grpc_socket_mode;
        let admin = SocketAddr::new(config.admin.address, config.admin.port);
        let mut tcp = |role, key, address| match left.take_tcp(role, address) {
            Some(listener) => Ok(listener),
            None => listen::tcp(key, address),
        };
        Ok(Self {
            grpc: tcp(Role::Grpc, "server.grpc_port", server.grpc_bind())?,
            http: tcp(Role::Http, "server.http_port", server.http_bind())?,
            admin: tcp(Role::Admin, "admin.port", admin)?,
            metrics: config
                .metrics
                .bind
                .map(|address| tcp(Role::Metrics, "metrics.bind", address))
                .transpose()?,
            grpc_socket: server
                .grpc_socket
                .as_deref()
                .map(|path| match left.take_unix(Role::GrpcSocket, path) {
                    Some(listener) => UnixSocket::of_shared(path, socket_mode, listener),
                    None => UnixSocket::bind(path, socket_mode),
                })
                .transpose()?,
            mesh: (config.mesh.mode() == MeshMode::On)
                .then(|| match left.take_udp(Role::Mesh, config.mesh.bind) {
                    Some(socket) => MeshSocket::of_bound(socket, &config.mesh),
                    None => MeshSocket::bind(&config.mesh),
                })
                .transpose()?,
        })
    }

    /// What [`Self::open`] would say, with everything left as it is. Where another meshd `hands_over`, what is in use is
    /// taken for its own, which a start is given.
    pub fn examine(config: &Config, hands_over: bool) -> Vec<ListenError> {
        let server = &config.server;
        let admin = SocketAddr::new(config.admin.address, config.admin.port);
        let tcp = [
            ("server.grpc_port", Some(server.grpc_bind())),
            ("server.http_port", Some(server.http_bind())),
            ("admin.port", Some(admin)),
            ("metrics.bind", config.metrics.bind),
        ];
        let tcp = tcp
            .into_iter()
            .filter_map(|(key, address)| listen::examine_tcp(key, address?).err());
        let unix = server
            .grpc_socket
            .iter()
            .filter_map(|path| UnixSocket::examine(path).err());
        let mesh = (config.mesh.mode() == MeshMode::On)
            .then(|| MeshSocket::examine(&config.mesh).err())
            .flatten();
        let failures = tcp.chain(unix).chain(mesh);
        failures
            .filter(|failure| !(hands_over && failure.is_in_use()))
            .collect()
    }

    /// Second handles on all of them, for the next meshd.
    ///
    /// # Errors
    ///
    /// When the operating system has no more file descriptors.
    pub fn share(&self) -> io::Result<Belongings> {
        let mut shared = Belongings::default();
        shared.add(Role::Grpc, &self.grpc)?;
        shared.add(Role::Http, &self.http)?;
        shared.add(Role::Admin, &self.admin)?;
        if let Some(metrics) = &self.metrics {
            shared.add(Role::Metrics, metrics)?;
        }
        if let Some(UnixSocket { file, listener }) = &self.grpc_socket {
            shared.add_unix(Role::GrpcSocket, file.path(), listener)?;
        }
        if let Some(mesh) = &self.mesh {
            shared.add(Role::Mesh, mesh)?;
        }
        Ok(shared)
    }

    /// Whether another meshd listens on the Unix socket as well.
    pub fn shares_grpc_socket(&self) -> bool {
        let socket = self.grpc_socket.as_ref();
        socket.is_some_and(|socket| !socket.file.is_ours())
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

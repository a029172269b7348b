//! A real meshd in a directory of its own, and the means to talk to it.

#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod certificates;
pub(crate) mod crowd;
pub(crate) mod lasting_http;
pub(crate) mod newcomer;
pub(crate) mod process;
pub(crate) mod raw_http2;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use hivemind_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::{Channel, Endpoint};

/// How long anything may take that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The rules most tests begin with. The window is long enough not to end within a test.
pub(crate) const RULES: &str = "domain: test\ndescriptors:\n  - key: user\n    rate_limit:\n      \
                         name: per_user\n      unit: year\n      requests_per_unit: 3\n";

/// A client of the Rate Limit Service.
pub(crate) type Client = RateLimitServiceClient<Channel>;

/// Waits until `condition` gives something, and fails when that takes too long.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "never came about: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A directory with a configuration, for any number of runs of meshd.
#[derive(Debug)]
pub(crate) struct Site {
    dir: Arc<tempfile::TempDir>,
}

impl Site {
    /// A site with these rules.
    pub(crate) fn new(rules: &str) -> Self {
        let site = Self {
            dir: Arc::new(tempfile::tempdir().expect("a temporary directory")),
        };
        site.write("ratelimit.yaml", rules);
        site.write(
            "hivemind.yaml",
            &format!(
                "region: {{path: {region}, max_keys: 1024}}\n\
                 server: {{address: 127.0.0.1, grpc_port: 0, http_port: 0, workers: 2}}\n\
                 admin: {{port: 0}}\n\
                 rate_limiting: {{config_path: {rules}}}\n",
                region = site.path("region").display(),
                rules = site.path("ratelimit.yaml").display(),
            ),
        );
        site
    }

    /// A path in the site.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the site.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    /// meshd, ready to be run with more arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshd"));
        command
            .arg("--config")
            .arg(self.path("hivemind.yaml"))
            .args(arguments);
        command
    }

    /// Runs a meshd that is expected to end by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("meshd can be run")
    }

    /// Starts meshd and waits until it is ready.
    pub(crate) fn start(&self) -> Meshd {
        self.start_with(&[])
    }

    /// Starts meshd with more arguments and waits until it is ready.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Meshd {
        let mut meshd = self.launch("log", arguments);
        meshd.await_ready();
        meshd
    }

    /// Starts a meshd with the files of TLS (`tls.crt`, `tls.key`) and the key file (`mesh.keys`) of the site.
    pub(crate) fn start_sealed(&self) -> Meshd {
        let path = |name: &str| self.path(name).to_str().expect("UTF-8").to_owned();
        self.start_with(&[
            "--server-tls-cert-file",
            &path("tls.crt"),
            "--server-tls-key-file",
            &path("tls.key"),
            "--mesh-bind=127.0.0.1:0",
            "--mesh-key-file",
            &path("mesh.keys"),
        ])
    }

    /// Starts a meshd that was put together with [`Site::command`] or otherwise, and waits until it is
    /// ready.
    pub(crate) fn start_command(&self, command: Command) -> Meshd {
        let mut meshd = self.launch_command("log", command);
        meshd.await_ready();
        meshd
    }

    /// Starts meshd, also beside another one, with a log of this name. It is not waited for.
    pub(crate) fn launch(&self, log: &str, arguments: &[&str]) -> Meshd {
        self.launch_command(log, self.command(arguments))
    }

    /// The same with a meshd that was put together.
    pub(crate) fn launch_command(&self, log: &str, command: Command) -> Meshd {
        let file = fs::File::create(self.path(log)).expect("a log file");
        self.launch_logging_to(log, file.into(), command)
    }

    /// Starts meshd with a log that nobody reads: each line is an error of the pipe. Waits until it serves.
    pub(crate) fn start_unread(&self) -> Meshd {
        let mut meshd = self.launch_logging_to("unread", Stdio::piped(), self.command(&[]));
        drop(meshd.process.stderr.take());
        meshd.await_ready();
        meshd
    }

    fn launch_logging_to(&self, log: &str, to: Stdio, mut command: Command) -> Meshd {
        let ports_file = self.path(&format!("{log}.ports"));
        let _ = fs::remove_file(&ports_file);
        let log = self.path(log);
        let process = command
            .arg("--ports-file")
            .arg(&ports_file)
            .stderr(to)
            .stdout(Stdio::null())
            .spawn()
            .expect("meshd can be started");
        Meshd {
            process,
            _dir: Arc::clone(&self.dir),
            log,
            ports_file,
            ports: Ports::default(),
        }
    }
}

/// The ports of a running meshd.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    pub(crate) grpc: u16,
    pub(crate) http: u16,
    pub(crate) admin: u16,
    /// None when there is none for metrics alone.
    pub(crate) metrics: Option<u16>,
    /// None when the mesh is off.
    pub(crate) mesh: Option<u16>,
}

impl Ports {
    fn parse(json: &str) -> Self {
        let ports: serde_json::Value = serde_json::from_str(json).expect("the ports file is JSON");
        let port = |name: &str| {
            let port = ports[name]
                .as_u64()
                .unwrap_or_else(|| panic!("no {name} in {json}"));
            u16::try_from(port).expect("a port")
        };
        Self {
            grpc: port("grpc"),
            http: port("http"),
            admin: port("admin"),
            metrics: (!ports["metrics"].is_null()).then(|| port("metrics")),
            mesh: (!ports["mesh"].is_null()).then(|| port("mesh")),
        }
    }
}

/// A running meshd; killed when dropped.
#[derive(Debug)]
pub(crate) struct Meshd {
    process: Child,
    /// Its files stay while it runs, also when nobody holds the site any more.
    _dir: Arc<tempfile::TempDir>,
    log: PathBuf,
    ports_file: PathBuf,
    pub(crate) ports: Ports,
}

impl Drop for Meshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Meshd {
    /// Waits until it is ready.
    pub(crate) fn await_ready(&mut self) {
        self.ports = eventually("the ports file", || {
            if let Some(status) = self.process.try_wait().expect("the process can be asked") {
                panic!("meshd ended with {status}:\n{}", self.log());
            }
            let text = fs::read_to_string(&self.ports_file).ok()?;
            Some(Ports::parse(&text))
        });
    }

    /// Waits until it has logged something.
    pub(crate) fn await_log(&self, what: &str) {
        eventually(what, || self.log().contains(what).then_some(()));
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        let status = self.process.try_wait();
        status.expect("the process can be asked").is_some()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the signal is delivered");
    }

    /// Waits for it to end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        eventually("the end of meshd", || {
            self.process.try_wait().expect("the process can be asked")
        })
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it at whatever it is doing.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// A client with a connection of its own.
    pub(crate) async fn client(&self) -> Client {
        let endpoint = format!("http://127.0.0.1:{}", self.ports.grpc);
        let endpoint = Endpoint::from_shared(endpoint).expect("an endpoint");
        Client::new(endpoint.connect().await.expect("meshd accepts connections"))
    }

    /// GETs a path of the HTTP port: the status and the body.
    pub(crate) fn http(&self, path: &str) -> (u16, String) {
        get(self.ports.http, path)
    }

    /// GETs a path of the port for metrics alone: the status and the body.
    pub(crate) fn metrics(&self, path: &str) -> (u16, String) {
        get(self.ports.metrics.expect("a port for metrics"), path)
    }

    /// POSTs a document to `/json`: the status and the body.
    pub(crate) fn json(&self, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "POST /json HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\
             content-type: application/json"
        );
        exchange(self.ports.http, &format!("{head}\r\n\r\n{body}"))
    }

    /// POSTs a JSON document to a path of the admin port: the status and the body.
    pub(crate) fn admin_post(&self, path: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\
             content-type: application/json"
        );
        exchange(self.ports.admin, &format!("{head}\r\n\r\n{body}"))
    }

    /// GETs a path of the admin port: the status and the body.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        get(self.ports.admin, path)
    }
}

/// One HTTP request on a connection of its own.
fn get(port: u16, path: &str) -> (u16, String) {
    exchange(
        port,
        &format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"),
    )
}

/// Sends a whole HTTP request and reads the answer: the status and the body.
pub(crate) fn exchange(port: u16, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(request.as_bytes())
        .expect("the request is sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the answer is read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no status in {head}")),
        body.to_owned(),
    )
}

/// A descriptor of these entries.
pub(crate) fn descriptor(entries: &[(&str, &str)]) -> RateLimitDescriptor {
    let entry = |(key, value): &(&str, &str)| Entry {
        key: key.to_string().into_bytes().into(),
        value: value.to_string().into_bytes().into(),
    };
    RateLimitDescriptor {
        entries: entries.iter().map(entry).collect(),
        limit: None,
        hits_addend: None,
    }
}

/// A request of the domain `test` with these descriptors.
pub(crate) fn request(descriptors: Vec<RateLimitDescriptor>) -> RateLimitRequest {
    RateLimitRequest {
        domain: "test".to_owned(),
        descriptors,
        hits_addend: 0,
    }
}

/// Asks, and expects an answer.
pub(crate) async fn ask(client: &mut Client, request: RateLimitRequest) -> RateLimitResponse {
    client
        .should_rate_limit(request)
        .await
        .expect("an answer")
        .into_inner()
}

/// Whether the server did not take the call: its connection was on the way out, and the server had said
/// which call is the last it takes. HTTP/2 allows such a call to be made again, and Envoy and other
/// clients of gRPC do so by themselves; tonic leaves that to its user, and tells it in several ways, by how
/// far the call was when it heard. On a Unix socket it may notice that the other end has closed before it
/// reads why.
pub(crate) fn was_not_sent(status: &tonic::Status) -> bool {
    let text = format!("{status:?}");
    let connection_ends = text.contains("GoAway(b\"\", NO_ERROR, Remote)");
    match status.code() {
        tonic::Code::Unknown => {
            let is_closed = text.contains("Canceled") || text.contains("BrokenPipe");
            text.contains("transport error") && (connection_ends || is_closed)
        }
        tonic::Code::Internal => connection_ends,
        tonic::Code::Cancelled => text.contains("hyper::Error(Canceled"),
        _ => false,
    }
}

/// Makes a call that is within its limit, again if it was not begun; what is left of the limit then.
pub(crate) async fn remaining(client: &mut Client, user: &str) -> u32 {
    loop {
        let call = request(vec![descriptor(&[("user", user)])]);
        match client.should_rate_limit(call).await {
            Ok(response) => break response.into_inner().statuses[0].limit_remaining,
            Err(status) => assert!(was_not_sent(&status), "a failed call: {status:?}"),
        }
    }
}

/// Asks `times` times for one user, one hit each, and counts how many were within the limit.
pub(crate) async fn admitted(client: &mut Client, user: &str, times: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..times {
        let response = ask(client, request(vec![descriptor(&[("user", user)])])).await;
        if response.overall_code() == Code::Ok {
            admitted += 1;
        }
    }
    admitted
}

/// Every file in a directory, by name.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

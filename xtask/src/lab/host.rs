//! A host: a thread in a network namespace of its own, and everything that is started from it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkUnspec;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::wire::End;

/// What a host's interface to the wire is called.
pub const INTERFACE: &str = "wire0";

/// What fits into one packet, bytes.
const MTU_BYTES: u16 = 1_500;

/// Packets that wait for the wire's thread before the system drops more: enough for it to be late.
const QUEUE_PACKETS: u32 = 10_000;

/// There is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No thread, or no runtime for it.
    #[error("a host needs a thread of its own: {0}")]
    Thread(#[source] io::Error),
    /// The system gives no network namespace.
    #[error("a host needs a network namespace of its own, for root or in a user namespace: {0}")]
    Namespace(#[source] nix::Error),
    /// Its loopback interface stays down.
    #[error("a host needs its loopback interface: {0}")]
    Loopback(#[source] io::Error),
    /// There is no TUN device.
    #[error("a host needs a TUN device: {0}; is /dev/net/tun there, readable and writable (0666)?")]
    Device(#[source] io::Error),
}

type Job = Box<dyn FnOnce() + Send>;

/// A host. Its namespace goes when this is dropped and whatever was started in it has ended.
///
/// Processes and threads live in the namespace of the thread that starts them. So what is to be on this
/// host is begun in [`Self::run`] or [`Self::run_async`], and may be waited for from anywhere.
pub struct Host {
    address: Ipv4Addr,
    namespace: PathBuf,
    /// None when the thread is to end.
    jobs: Option<mpsc::Sender<Job>>,
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts the host with this number, 1 to 254: the last part of its addresses.
    pub(super) fn start(number: u8) -> Result<(Self, End), HostError> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("lab-host-{number}"))
            .spawn(move || match Inside::enter(number) {
                Ok((inside, end)) => {
                    let handle = inside.runtime.handle().clone();
                    let _ = tell.send(Ok((handle, inside.namespace, end)));
                    waiting.iter().for_each(|job: Job| job());
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            })
            .map_err(HostError::Thread)?;
        let gone = |_| HostError::Thread(io::ErrorKind::BrokenPipe.into());
        let (runtime, namespace, end) = told.recv().map_err(gone)??;
        let host = Self {
            address: ipv4(number),
            namespace,
            jobs: Some(jobs),
            runtime,
            thread: Some(thread),
        };
        Ok((host, end))
    }

    /// Its address on the wire: 10.77.0.1 for the first one.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// What `/proc/…/ns/net` of everything on this host links to.
    pub fn namespace(&self) -> &Path {
        &self.namespace
    }

    /// Runs `work` on this host, after whatever runs there now, and waits for it.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.submit(move || {
            let _ = tell.send(catch_unwind(AssertUnwindSafe(work)));
        });
        unpack(told.recv().ok())
    }

    /// Runs `work` on this host, after whatever runs there now, and waits for it.
    ///
    /// What it spawns goes on in the background, on a worker thread of this host.
    pub async fn run_async<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> T {
        let runtime = self.runtime.clone();
        let (tell, told) = oneshot::channel();
        self.submit(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work())));
            let _ = tell.send(outcome);
        });
        unpack(told.await.ok())
    }

    fn submit(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(jobs) = &self.jobs {
            // A job that nobody takes drops its sender, which the one who waits for it notices.
            let _ = jobs.send(Box::new(job));
        }
    }
}

/// The value of a job; a panic in it goes on in the one who waits.
fn unpack<T>(outcome: Option<std::thread::Result<T>>) -> T {
    match outcome {
        Some(Ok(value)) => value,
        Some(Err(panic)) => resume_unwind(panic),
        None => resume_unwind(Box::new("the thread of a host is gone")),
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What lives on the host's thread.
struct Inside {
    namespace: PathBuf,
    /// Dropped on this thread, where blocking is allowed.
    runtime: Runtime,
}

impl Inside {
    /// Moves this thread, and no other, into a namespace of its own and sets that up.
    fn enter(number: u8) -> Result<(Self, End), HostError> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(HostError::Namespace)?;
        let (device, addresses) = device(number).map_err(HostError::Device)?;
        let namespace =
            std::fs::read_link("/proc/thread-self/ns/net").map_err(HostError::Thread)?;
        // Its worker starts now, from this thread, and so is in the namespace as well; the threads it
        // takes for blocking work start from the worker.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(format!("lab-host-{number}-worker"))
            .enable_all()
            .build()
            .map_err(HostError::Thread)?;
        runtime
            .block_on(set_loopback_up())
            .map_err(HostError::Loopback)?;
        let inside = Self { namespace, runtime };
        Ok((inside, End { addresses, device }))
    }
}

/// Sets up the loopback interface of the namespace that this thread is in.
async fn set_loopback_up() -> io::Result<()> {
    let (connection, netlink, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let loopback = LinkUnspec::new_with_name("lo").up().build();
    let done = netlink.link().set(loopback).execute().await;
    connection.abort();
    done.map_err(io::Error::other)
}

/// The interface to the wire, up, with the host's addresses.
fn device(number: u8) -> io::Result<(SyncDevice, Vec<IpAddr>)> {
    let mut addresses = vec![IpAddr::V4(ipv4(number))];
    let mut builder =
        DeviceBuilder::new()
            .name(INTERFACE)
            .mtu(MTU_BYTES)
            .ipv4(ipv4(number), 24, None);
    // A kernel without IPv6 does for everything that does not ask for it.
    if Path::new("/proc/net/if_inet6").exists() {
        builder = builder.ipv6(ipv6(number), 64);
        addresses.push(IpAddr::V6(ipv6(number)));
    }
    let device = builder.build_sync()?;
    // The root of a user namespace may not: there the system's own 500 have to do.
    let _ = device.set_tx_queue_len(QUEUE_PACKETS);
    Ok((device, addresses))
}

const fn ipv4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

fn ipv6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number))
}

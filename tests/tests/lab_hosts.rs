//! The hosts of a lab are apart, and nothing stays of them.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::lab::{Host, INTERFACE, Network, Place, as_root_of_a_namespace};
use xtask::process::Process;
use xtask::scratch::Scratch;
use xtask::wait::PATIENCE;

const PORT: u16 = 7946;

#[test]
fn a_process_sees_the_interfaces_of_its_host_alone() -> anyhow::Result<()> {
    let name = "a_process_sees_the_interfaces_of_its_host_alone";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    let lab = Network::start(2, 1)?;
    let routes = |host: &Host| {
        let output = host.run(|| Command::new("cat").arg("/proc/self/net/fib_trie").output());
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let (one, other) = (routes(&lab.hosts[0]), routes(&lab.hosts[1]));
    assert!(
        one.contains("10.77.0.1\n") && !one.contains("10.77.0.2\n"),
        "{one}"
    );
    assert!(
        other.contains("10.77.0.2\n") && !other.contains("10.77.0.1\n"),
        "{other}"
    );
    let ours = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    assert!(
        !ours.contains(INTERFACE),
        "this process stays where it is: {ours}"
    );
    Ok(())
}

#[test]
fn a_host_has_a_loopback_interface_of_its_own() -> anyhow::Result<()> {
    let Place::Here = as_root_of_a_namespace("a_host_has_a_loopback_interface_of_its_own")? else {
        return Ok(());
    };
    let lab = Network::start(2, 1)?;
    let listen = |host: &Host| host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)));
    let listeners = [&lab.hosts[0], &lab.hosts[1]].map(|host| listen(host).unwrap());
    let address = listeners[0].local_addr().unwrap();
    let connect = move || TcpStream::connect_timeout(&address, PATIENCE).map(drop);
    lab.hosts[0].run(connect).unwrap();
    listeners[0].accept().unwrap();
    Ok(())
}

/// The threads of this machine that are in a namespace, as paths in `/proc`.
fn inhabitants(namespace: &Path) -> Vec<PathBuf> {
    let list = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    // There are links beside the numbers: to this very process.
    let is_number = |name: OsString| name.to_string_lossy().parse::<u32>().is_ok();
    list("/proc".into())
        .filter(|process| is_number(process.file_name()))
        .flat_map(|process| list(process.path().join("task")))
        .map(|thread| thread.path())
        .filter(|it| std::fs::read_link(it.join("ns/net")).is_ok_and(|it| it == namespace))
        .collect()
}

/// The TUN devices this process has open, by what the system says of them.
fn open_devices() -> io::Result<usize> {
    let infos = std::fs::read_dir("/proc/self/fdinfo")?.flatten();
    let info = |it: std::fs::DirEntry| std::fs::read_to_string(it.path()).unwrap_or_default();
    Ok(infos.map(info).filter(|it| it.contains(INTERFACE)).count())
}

#[test]
fn nothing_is_left_of_a_lab_that_was_dropped() -> anyhow::Result<()> {
    let name = "nothing_is_left_of_a_lab_that_was_dropped";
    // The other tests of this process have devices of their own.
    const ALONE: &str = "HIVEMIND_LAB_TEST_ALONE";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    if std::env::var_os(ALONE).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([name, "--exact", "--nocapture"])
            .env(ALONE, "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return Ok(());
    }
    let lab = Network::start(2, 1)?;
    let namespaces: Vec<PathBuf> = lab
        .hosts
        .iter()
        .map(|it| it.namespace().to_owned())
        .collect();
    let files = Scratch::new().unwrap();
    let log = files.file("sleep.log");
    let process = lab.hosts[0]
        .run(move || Process::start("sleep", Command::new("sleep").arg("600"), log))
        .unwrap();
    let lives_in = std::fs::read_link(format!("/proc/{}/ns/net", process.pid())).unwrap();
    assert_eq!(lives_in, namespaces[0]);
    assert_eq!(
        (
            inhabitants(&namespaces[0]).len(),
            inhabitants(&namespaces[1]).len()
        ),
        (3, 2)
    );
    assert_eq!(open_devices()?, 2);

    drop((process, lab));
    assert_eq!(inhabitants(&namespaces[0]), Vec::<PathBuf>::new());
    assert_eq!(inhabitants(&namespaces[1]), Vec::<PathBuf>::new());
    assert_eq!(open_devices()?, 0, "an open device keeps its namespace");
    Ok(())
}

//! The wire of a lab does what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use xtask::lab::{Counters, Host, Impairment, Network, Place, as_root_of_a_namespace};
use xtask::wait::PATIENCE;

const PORT: u16 = 7946;

/// How long a packet that is not to come is waited for, once one sent later has come.
const NOTHING_MORE: Duration = Duration::from_millis(20);

/// A socket on the host's address on the wire.
fn socket(host: &Host) -> io::Result<UdpSocket> {
    let address = SocketAddr::from((host.address(), PORT));
    let socket = host.run(move || UdpSocket::bind(address))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn send(socket: &UdpSocket, number: u32, to: &Host) -> io::Result<()> {
    socket.send_to(&number.to_be_bytes(), (to.address(), PORT))?;
    Ok(())
}

/// The next number that arrives. None when there is none within the socket's patience.
fn receive(socket: &UdpSocket) -> Option<u32> {
    let mut bytes = [0; 4];
    match socket.recv(&mut bytes) {
        Ok(length) => {
            assert_eq!(length, 4);
            Some(u32::from_be_bytes(bytes))
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            None
        }
    }
}

/// Sends these numbers one by one and hands back what has arrived.
///
/// The wire decides about each packet, and what it forwards is received, before the next one is sent.
fn exchange(lab: &Network, sockets: &[UdpSocket; 2], numbers: u32) -> anyhow::Result<Vec<u32>> {
    let mut arrived = Vec::new();
    let before = lab.wire.counters(0, 1);
    for number in 0..numbers {
        send(&sockets[0], number, &lab.hosts[1])?;
        let decided = |it: Counters| it.forwarded + it.lost + it.cut - it.doubled;
        let enough = decided(before) + u64::from(number) + 1;
        let now = counters_when(lab, 0, 1, |it| decided(it) >= enough)?;
        let forwarded = now.forwarded - before.forwarded;
        while (arrived.len() as u64) < forwarded {
            let number = receive(&sockets[1]);
            arrived.push(number.with_context(|| format!("the wire forwarded {forwarded}"))?);
        }
    }
    sockets[1].set_read_timeout(Some(NOTHING_MORE))?;
    assert_eq!(receive(&sockets[1]), None);
    sockets[1].set_read_timeout(Some(PATIENCE))?;
    Ok(arrived)
}

/// What has happened from one host to another, once that is as wanted.
fn counters_when(
    lab: &Network,
    from: usize,
    to: usize,
    wanted: impl Fn(Counters) -> bool,
) -> anyhow::Result<Counters> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counters = lab.wire.counters(from, to);
        if wanted(counters) {
            return Ok(counters);
        }
        ensure!(
            Instant::now() < deadline,
            "last seen from {from} to {to}: {counters:?}"
        );
        std::thread::yield_now();
    }
}

fn two_hosts(seed: u64) -> anyhow::Result<(Network, [UdpSocket; 2])> {
    let lab = Network::start(2, seed)?;
    let sockets = [socket(&lab.hosts[0])?, socket(&lab.hosts[1])?];
    Ok((lab, sockets))
}

#[test]
fn two_hosts_reach_each_other_by_udp_and_tcp() -> anyhow::Result<()> {
    let Place::Here = as_root_of_a_namespace("two_hosts_reach_each_other_by_udp_and_tcp")? else {
        return Ok(());
    };
    let (lab, sockets) = two_hosts(1)?;
    send(&sockets[0], 7, &lab.hosts[1])?;
    assert_eq!(receive(&sockets[1]), Some(7));
    send(&sockets[1], 8, &lab.hosts[0])?;
    assert_eq!(receive(&sockets[0]), Some(8));

    let server = SocketAddr::from((lab.hosts[1].address(), PORT));
    let listener = lab.hosts[1].run(move || TcpListener::bind(server)).unwrap();
    let connect = move || TcpStream::connect_timeout(&server, PATIENCE);
    let mut client = lab.hosts[0].run(connect).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut said = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "hello");
    Ok(())
}

#[test]
fn a_third_of_the_packets_is_lost_and_the_same_ones_for_the_same_seed() -> anyhow::Result<()> {
    const PACKETS: u32 = 2_000;
    let name = "a_third_of_the_packets_is_lost_and_the_same_ones_for_the_same_seed";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    let run = |seed| {
        let (lab, sockets) = two_hosts(seed)?;
        lab.wire.set(
            0,
            1,
            Impairment {
                loss: 0.3,
                ..Impairment::NONE
            },
        );
        let arrived = exchange(&lab, &sockets, PACKETS)?;
        let counters = lab.wire.counters(0, 1);
        assert_eq!(counters.forwarded, arrived.len() as u64);
        assert_eq!(counters.forwarded + counters.lost, u64::from(PACKETS));
        anyhow::Ok(arrived)
    };
    let arrived = run(1)?;
    assert!((1_300..1_500).contains(&arrived.len()), "{}", arrived.len());
    assert_eq!(run(1)?, arrived);
    assert_ne!(run(2)?, arrived);
    Ok(())
}

#[test]
fn a_cut_in_one_direction_leaves_the_other_alone() -> anyhow::Result<()> {
    let name = "a_cut_in_one_direction_leaves_the_other_alone";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    let (lab, sockets) = two_hosts(1)?;
    lab.wire.cut(0, 1);
    assert_eq!(exchange(&lab, &sockets, 10)?, [0_u32; 0]);
    assert_eq!(lab.wire.counters(0, 1).cut, 10);
    send(&sockets[1], 3, &lab.hosts[0])?;
    assert_eq!(receive(&sockets[0]), Some(3));
    Ok(())
}

#[test]
fn a_partition_separates_the_sides_alone_and_heals() -> anyhow::Result<()> {
    let name = "a_partition_separates_the_sides_alone_and_heals";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    let lab = Network::start(3, 1)?;
    let sockets = lab
        .hosts
        .iter()
        .map(socket)
        .collect::<io::Result<Vec<UdpSocket>>>()?;
    lab.wire.partition(&[0, 1], &[2]);
    for (number, (from, to)) in (0..).zip([(0, 2), (2, 0), (1, 2), (2, 1), (0, 1), (1, 0)]) {
        send(&sockets[from], number, &lab.hosts[to])?;
    }
    assert_eq!(receive(&sockets[1]), Some(4));
    assert_eq!(receive(&sockets[0]), Some(5));
    for (from, to) in [(0, 2), (2, 0), (1, 2), (2, 1)] {
        counters_when(&lab, from, to, |it| it.cut == 1)?;
    }
    lab.wire.heal();
    send(&sockets[0], 6, &lab.hosts[2])?;
    assert_eq!(receive(&sockets[2]), Some(6));
    send(&sockets[2], 7, &lab.hosts[1])?;
    assert_eq!(receive(&sockets[1]), Some(7));
    Ok(())
}

#[test]
fn a_delayed_packet_takes_its_time() -> anyhow::Result<()> {
    const DELAY: Duration = Duration::from_millis(50);
    let name = "a_delayed_packet_takes_its_time";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    let (lab, sockets) = two_hosts(1)?;
    lab.wire.set_all(Impairment {
        delay_us: 50_000,
        jitter_us: 1_000,
        ..Impairment::NONE
    });
    let begin = Instant::now();
    send(&sockets[0], 1, &lab.hosts[1])?;
    assert_eq!(receive(&sockets[1]), Some(1));
    assert!(begin.elapsed() >= DELAY, "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn what_is_for_udp_alone_leaves_tcp_alone() -> anyhow::Result<()> {
    let Place::Here = as_root_of_a_namespace("what_is_for_udp_alone_leaves_tcp_alone")? else {
        return Ok(());
    };
    let (lab, sockets) = two_hosts(1)?;
    lab.wire.set_all(Impairment {
        loss: 1.0,
        udp_only: true,
        ..Impairment::NONE
    });
    assert_eq!(exchange(&lab, &sockets, 10)?, [0_u32; 0]);
    // Nothing listens there, and that answer arrives.
    let nobody = SocketAddr::from((lab.hosts[1].address(), 1));
    let refused = lab.hosts[0].run(move || TcpStream::connect_timeout(&nobody, PATIENCE));
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    assert_eq!(lab.wire.counters(0, 1).lost, 10);
    Ok(())
}

#[test]
fn doubled_packets_arrive_twice_and_held_back_ones_out_of_order() -> anyhow::Result<()> {
    let name = "doubled_packets_arrive_twice_and_held_back_ones_out_of_order";
    let Place::Here = as_root_of_a_namespace(name)? else {
        return Ok(());
    };
    let (lab, sockets) = two_hosts(1)?;
    lab.wire.set(
        0,
        1,
        Impairment {
            duplicate: 0.5,
            ..Impairment::NONE
        },
    );
    let arrived = exchange(&lab, &sockets, 200)?;
    let mut times = BTreeMap::<u32, u64>::new();
    for number in &arrived {
        *times.entry(*number).or_default() += 1;
    }
    assert_eq!(times.len(), 200, "none is lost");
    let twice = times.values().filter(|it| **it == 2).count() as u64;
    assert_eq!(twice, lab.wire.counters(0, 1).doubled);
    assert!((60..140).contains(&twice), "{twice} of 200");

    lab.wire.set(
        0,
        1,
        Impairment {
            reorder: 0.5,
            reorder_us: 10_000,
            ..Impairment::NONE
        },
    );
    for number in 0..200 {
        send(&sockets[0], number, &lab.hosts[1])?;
    }
    let arrived: Vec<u32> = (0..200).map(|_| receive(&sockets[1]).unwrap()).collect();
    assert!(!arrived.is_sorted(), "{arrived:?}");
    assert_eq!(BTreeSet::from_iter(arrived).len(), 200, "none is lost");
    Ok(())
}

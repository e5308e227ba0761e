//! Packets from an address: sent beyond the gate, and had if a socket here receives them.

use std::net::UdpSocket;
use std::time::Duration;

use super::packet::{self, IPV4, IPV6, SERVICE_TAG, TAG, UDP, V4, frame, udp, udp_6, v6};
use super::raw::on_the_wire;
use super::socket_address;
use crate::outcome::{Failure, Tried};
use crate::scene::{PATIENCE, Place, Scene, child};
use crate::technique::Class::Inbound;
use crate::technique::{Technique, document, must, should};

const BROADCAST: [u8; 6] = [0xff; 6];
/// Our address at the gate.
const HERE: [u8; 4] = [198, 51, 100, 1];
const HERE_6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const DESTINATION_OPTIONS: u8 = 60;
const FRAGMENT: u8 = 44;
/// How long a packet may be late after one that was sent later.
const SECOND_LOOK: Duration = Duration::from_millis(300);

/// All of them.
pub const ALL: &[Technique] = &[
    must(Inbound, "in-udp", |scene| {
        received(scene, |datagram| {
            vec![frame(BROADCAST, &[(IPV4, None)], &from_peer(scene, datagram).bytes())]
        })
    }),
    must(Inbound, "in-udp-by-socket", |scene| {
        let port = port(scene);
        let socket = UdpSocket::bind(socket_address(HERE, port))?;
        let (peer, token) = (scene.place.peer(), scene.token());
        child(|| {
            super::go_far()?;
            UdpSocket::bind(socket_address(peer, 0))?
                .send_to(token.as_bytes(), socket_address(HERE, port))?;
            last(port)
        })?;
        has(scene, &socket)
    }),
    must(Inbound, "in-priority-tag", |scene| {
        received(scene, |datagram| {
            let packet = from_peer(scene, datagram).bytes();
            vec![frame(BROADCAST, &[(TAG, Some(0)), (IPV4, None)], &packet)]
        })
    }),
    must(Inbound, "in-service-tag", |scene| {
        received(scene, |datagram| {
            let packet = from_peer(scene, datagram).bytes();
            vec![frame(BROADCAST, &[(SERVICE_TAG, Some(0)), (IPV4, None)], &packet)]
        })
    }),
    must(Inbound, "in-two-tags", |scene| {
        received(scene, |datagram| {
            let packet = from_peer(scene, datagram).bytes();
            vec![frame(BROADCAST, &[(SERVICE_TAG, Some(0)), (TAG, Some(0)), (IPV4, None)], &packet)]
        })
    }),
    must(Inbound, "in-options", |scene| {
        received(scene, |datagram| {
            let packet = V4 { options: &[1, 1, 1, 0], ..from_peer(scene, datagram) };
            vec![frame(BROADCAST, &[(IPV4, None)], &packet.bytes())]
        })
    }),
    must(Inbound, "in-most-options", |scene| {
        received(scene, |datagram| {
            let packet = V4 { options: &[1; 40], ..from_peer(scene, datagram) };
            vec![frame(BROADCAST, &[(IPV4, None)], &packet.bytes())]
        })
    }),
    must(Inbound, "in-fragments", |scene| {
        received(scene, |datagram| {
            let (first, second) = datagram.split_at(16);
            [(packet::MORE, first), (2, second)]
                .map(|(fragment, payload)| {
                    let packet = V4 { fragment, ..from_peer(scene, payload) };
                    frame(BROADCAST, &[(IPV4, None)], &packet.bytes())
                })
                .to_vec()
        })
    }),
    must(Inbound, "in-fragments-backwards", |scene| {
        received(scene, |datagram| {
            let (first, second) = datagram.split_at(8);
            [(1, second), (packet::MORE, first)]
                .map(|(fragment, payload)| {
                    let packet = V4 { fragment, ..from_peer(scene, payload) };
                    frame(BROADCAST, &[(IPV4, None)], &packet.bytes())
                })
                .to_vec()
        })
    }),
    must(Inbound, "in-udp-6", |scene| {
        received_6(scene, |datagram| vec![v6(scene.place.peer_6(), HERE_6, UDP, datagram)])
    }),
    must(Inbound, "in-extension-headers", |scene| {
        received_6(scene, |datagram| {
            let mut payload = Vec::new();
            for next in [DESTINATION_OPTIONS, DESTINATION_OPTIONS, DESTINATION_OPTIONS, UDP] {
                // Eight bytes with one option that pads.
                payload.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]);
            }
            payload.extend_from_slice(datagram);
            vec![v6(scene.place.peer_6(), HERE_6, DESTINATION_OPTIONS, &payload)]
        })
    }),
    must(Inbound, "in-fragments-6", |scene| {
        received_6(scene, |datagram| {
            let (first, second) = datagram.split_at(16);
            [(1_u16, first), (16, second)]
                .map(|(offset, part)| {
                    let mut payload = vec![UDP, 0];
                    payload.extend_from_slice(&offset.to_be_bytes());
                    payload.extend_from_slice(&[0x45, 0x56, 0, 1]);
                    payload.extend_from_slice(part);
                    v6(scene.place.peer_6(), HERE_6, FRAGMENT, &payload)
                })
                .to_vec()
        })
    }),
    must(Inbound, "in-tcp", |scene| {
        let port = port(scene);
        let listener = std::net::TcpListener::bind(socket_address(HERE, port))?;
        let peer = scene.place.peer();
        let caller = crate::scene::fork(|| {
            super::go_far()?;
            let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            let socket = super::sockets::socket(libc::AF_INET, flags, 0)?;
            let (from, to) = (super::address(peer, 0), super::address(HERE, port));
            crate::sys::call!(SYS_bind, &socket, crate::sys::at(&from), 16)?;
            let _ = crate::sys::call!(SYS_connect, &socket, crate::sys::at(&to), 16);
            std::thread::sleep(Duration::from_secs(2));
            Ok(true)
        })?;
        listener.set_nonblocking(true)?;
        let mut accepted = false;
        for _ in 0..150 {
            accepted = listener.accept().is_ok();
            if accepted {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = crate::sys::call!(SYS_kill, caller, libc::SIGKILL);
        let _ = crate::scene::wait(caller);
        Ok(accepted)
    }),
    should(Inbound, "in-new-interface", |scene| {
        // An interface that was not there when rules were attached.
        let (name, port) = (format!("ev{}{}", scene.number, &scene.place.word()[..1]), port(scene));
        let script = format!(
            "set -e; ip link add {name} type veth peer name {name}x; ip link set {name}x netns far; \
             ip link set {name} up; ip -n far link set {name}x up"
        );
        let made = std::process::Command::new("/bin/sh").args(["-c", &script]).status()?;
        if !made.success() {
            return Err(Failure::Broken(format!("{name}: {made}")));
        }
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0")?;
        // What covers new interfaces may take a moment to see one.
        std::thread::sleep(Duration::from_secs(3));
        let socket = UdpSocket::bind(("0.0.0.0", port))?;
        let datagram = udp(9, port, scene.token().as_bytes());
        let bytes = frame(BROADCAST, &[(IPV4, None)], &from_peer(scene, &datagram).bytes());
        let wire = format!("{name}x");
        child(|| {
            super::go_far()?;
            on_the_wire(&wire, 0, &bytes)?;
            last(port)
        })?;
        let tried = has(scene, &socket);
        let _ = std::process::Command::new("ip").args(["link", "delete", &name]).status();
        tried
    }),
    document(Inbound, "in-tunnel", |scene| {
        // The forbidden sender is inside of a permitted packet, which a tunnel here unpacks.
        let script = "ip tunnel add evtun mode ipip local 198.51.100.1 remote 198.51.100.77 2>/dev/null; \
                      ip link set evtun up && echo 0 > /proc/sys/net/ipv4/conf/evtun/rp_filter";
        let made = std::process::Command::new("/bin/sh").args(["-c", script]).status()?;
        if !made.success() {
            return Err(Failure::Unsupported("no ipip tunnel".to_owned()));
        }
        received(scene, |datagram| {
            let inner = from_peer(scene, datagram).bytes();
            const IPIP: u8 = 4;
            let outer = V4 {
                source: Place::Plain.peer(),
                protocol: IPIP,
                payload: &inner,
                ..from_peer(scene, &[])
            };
            vec![frame(BROADCAST, &[(IPV4, None)], &outer.bytes())]
        })
    }),
];

fn port(scene: &Scene) -> u16 {
    let place = if scene.place == Place::Vault { 0 } else { 1000 };
    23_000 + scene.number + place
}

fn from_peer<'a>(scene: &Scene, payload: &'a [u8]) -> V4<'a> {
    V4 {
        source: scene.place.peer(),
        target: HERE,
        protocol: UDP,
        fragment: 0,
        options: &[],
        payload,
    }
}

/// Sends what follows everything else, from an address whose packets may come in.
fn last(port: u16) -> Tried {
    UdpSocket::bind(socket_address(Place::Plain.peer(), 0))?
        .send_to(b"last", socket_address(HERE, port))?;
    Ok(true)
}

fn received(scene: &Scene, frames: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Tried {
    let port = port(scene);
    let socket = UdpSocket::bind(socket_address(HERE, port))?;
    let datagram = udp(9, port, scene.token().as_bytes());
    let frames = frames(&datagram);
    child(|| {
        super::go_far()?;
        for frame in &frames {
            on_the_wire("far0", 0, frame)?;
        }
        last(port)
    })?;
    has(scene, &socket)
}

fn received_6(scene: &Scene, packets: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Tried {
    let port = port(scene);
    let socket = UdpSocket::bind(("::", port))?;
    let peer = scene.place.peer_6();
    let datagram = udp_6(peer, HERE_6, 9, port, scene.token().as_bytes());
    let packets = packets(&datagram);
    child(|| {
        super::go_far()?;
        for packet in &packets {
            on_the_wire("far0", 0, &frame(BROADCAST, &[(IPV6, None)], packet))?;
        }
        last(port)
    })?;
    has(scene, &socket)
}

fn has(scene: &Scene, socket: &UdpSocket) -> Tried {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [0; 2048];
    let mut ended = false;
    loop {
        match socket.recv(&mut bytes) {
            Ok(length) if scene.is_secret(&bytes[..length]) => return Ok(true),
            Ok(_) => {
                ended = true;
                socket.set_read_timeout(Some(SECOND_LOOK))?;
            }
            Err(_) if ended => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

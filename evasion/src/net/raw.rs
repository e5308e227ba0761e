//! Packets to an address below and beside the sockets that know addresses.

use std::os::fd::AsRawFd as _;

use super::packet::{self, IPV4, IPV6, TAG, UDP, V4, frame, udp, udp_6};
use super::sockets::{send_to, socket};
use super::{PORT, address, arrived, interface};
use crate::outcome::{Failure, Tried};
use crate::scene::{Place, Scene};
use crate::sys::{self, call};
use crate::technique::Class::Outbound;
use crate::technique::{Technique, document, must};

const BROADCAST: [u8; 6] = [0xff; 6];
/// Our address at the gate.
const HERE: [u8; 4] = [198, 51, 100, 1];
const HERE_6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const PACKET_QDISC_BYPASS: i32 = 20;

/// All of them.
pub const ALL: &[Technique] = &[
    must(Outbound, "out-ping", |scene| {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
        echo(scene, &socket)
    }),
    must(Outbound, "out-raw-icmp", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
        echo(scene, &socket)
    }),
    must(Outbound, "out-raw-udp", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
        let datagram = udp(9, PORT, scene.token().as_bytes());
        to_address(&socket, &datagram, scene.place.address())?;
        arrived(scene)
    }),
    must(Outbound, "out-raw-own-header", |scene| {
        // The address the call names is not the one in the header.
        unsilenced();
        let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        let datagram = udp(9, PORT, scene.token().as_bytes());
        to_address(&socket, &own(scene, &datagram).bytes(), Place::Plain.address())?;
        arrived(scene)
    }),
    must(Outbound, "out-raw-options", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        let datagram = udp(9, PORT, scene.token().as_bytes());
        let packet = V4 { options: &[1, 1, 1, 1, 1, 1, 1, 0], ..own(scene, &datagram) };
        to_address(&socket, &packet.bytes(), scene.place.address())?;
        arrived(scene)
    }),
    must(Outbound, "out-raw-fragments", |scene| {
        unsilenced();
        let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        let mut datagram = udp(9, PORT, &[b'.'; 8]);
        datagram.extend_from_slice(scene.token().as_bytes());
        let (first, second) = datagram.split_at(16);
        for (fragment, payload) in [(packet::MORE, first), (2, second)] {
            let packet = V4 { fragment, ..own(scene, payload) };
            to_address(&socket, &packet.bytes(), Place::Plain.address())?;
        }
        arrived(scene)
    }),
    must(Outbound, "out-options-by-setsockopt", |scene| {
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let options = [1_u8, 1, 1, 0];
        call!(SYS_setsockopt, &socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &options[..], 4)?;
        send_to(&socket, scene, 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-source-route", |scene| {
        // The first stop is permitted, the last is not: the kernel sends to the first, with the last inside.
        let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let mut options = vec![131, 7, 4];
        options.extend_from_slice(&Place::Plain.address());
        options.push(0);
        let length = options.len();
        let (level, option) = (libc::IPPROTO_IP, libc::IP_OPTIONS);
        call!(SYS_setsockopt, &socket, level, option, &options[..], length)?;
        send_to(&socket, scene, 0)?;
        arrived(scene)
    }),
    must(Outbound, "out-packet", |scene| by_packet(scene, 0, &[(IPV4, None)])).by_actor(),
    must(Outbound, "out-packet-past-queues", |scene| {
        by_packet(scene, PACKET_QDISC_BYPASS, &[(IPV4, None)])
    })
    .by_actor(),
    must(Outbound, "out-packet-tagged", |scene| {
        by_packet(scene, 0, &[(TAG, Some(0)), (IPV4, None)])
    })
    .by_actor(),
    must(Outbound, "out-packet-6", |scene| {
        let (source, target) = (HERE_6, scene.place.address_6());
        let datagram = udp_6(source, target, 9, PORT, scene.token().as_bytes());
        let packet = packet::v6(source, target, UDP, &datagram);
        at_the_gate(0, &frame(BROADCAST, &[(IPV6, None)], &packet))?;
        arrived(scene)
    })
    .by_actor(),
    must(Outbound, "out-tap", |scene| {
        // A cable of our own into the machine, which forwards what comes in: no socket of ours sends anything.
        const TUNSETIFF: u64 = 0x4004_54ca;
        let file = sys::open("/dev/net/tun", libc::O_RDWR)?;
        let name = format!("ev{}{}", scene.number, &scene.place.word()[..1]);
        let mut request = [0_u8; 40];
        request[..name.len()].copy_from_slice(name.as_bytes());
        const TUN_WITHOUT_HEADER: u16 = 0x1001;
        request[16..18].copy_from_slice(&TUN_WITHOUT_HEADER.to_ne_bytes());
        call!(SYS_ioctl, &file, TUNSETIFF, &mut request[..])?;
        let script = format!("ip address add 192.0.2.1/24 dev {name} && ip link set {name} up");
        let configured = std::process::Command::new("/bin/sh").args(["-c", &script]).status()?;
        if !configured.success() {
            return Err(Failure::Broken(format!("{name}: {configured}")));
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let datagram = udp(9, PORT, scene.token().as_bytes());
        let packet = V4 { source: [192, 0, 2, 2], ..own(scene, &datagram) }.bytes();
        call!(SYS_write, &file, &packet[..], packet.len())?;
        let tried = arrived(scene);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;
        tried
    }),
    document(Outbound, "out-tunnel", |scene| {
        // A packet to a permitted address with the forbidden one inside.
        let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_IPIP)?;
        let datagram = udp(9, PORT, scene.token().as_bytes());
        to_address(&socket, &own(scene, &datagram).bytes(), Place::Plain.address())?;
        arrived(scene)
    }),
];

/// A peer that was told of is not told of again within a second; what only packets are judged by waits for that.
fn unsilenced() {
    std::thread::sleep(std::time::Duration::from_millis(1500));
}

fn own<'a>(scene: &Scene, payload: &'a [u8]) -> V4<'a> {
    V4 {
        source: HERE,
        target: scene.place.address(),
        protocol: UDP,
        fragment: 0,
        options: &[],
        payload,
    }
}

fn echo(scene: &Scene, socket: &std::os::fd::OwnedFd) -> Tried {
    to_address(socket, &packet::echo(scene.token().as_bytes()), scene.place.address())?;
    arrived(scene)
}

fn to_address(socket: &std::os::fd::OwnedFd, bytes: &[u8], to: [u8; 4]) -> Result<(), Failure> {
    let to = address(to, 0);
    call!(SYS_sendto, socket, bytes, bytes.len(), 0, sys::at(&to), 16)?;
    Ok(())
}

fn by_packet(scene: &Scene, option: i32, kinds: &[(u16, Option<u16>)]) -> Tried {
    let datagram = udp(9, PORT, scene.token().as_bytes());
    at_the_gate(option, &frame(BROADCAST, kinds, &own(scene, &datagram).bytes()))?;
    arrived(scene)
}

/// Puts a frame on the wire.
fn at_the_gate(option: i32, frame: &[u8]) -> Result<(), Failure> {
    on_the_wire("gate", option, frame)
}

/// Puts a frame on an interface.
pub fn on_the_wire(name: &str, option: i32, frame: &[u8]) -> Result<(), Failure> {
    let socket = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    if option != 0 {
        let (level, on) = (libc::SOL_PACKET, 1_i32);
        call!(SYS_setsockopt, socket.as_raw_fd(), level, option, sys::at(&on), 4)?;
    }
    let mut to: libc::sockaddr_ll = sys::zeroed();
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = interface(name)?;
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&frame[..6]);
    let size = size_of_val(&to);
    call!(SYS_sendto, &socket, frame, frame.len(), 0, sys::at(&to), size)?;
    Ok(())
}

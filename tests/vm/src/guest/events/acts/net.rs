//! Acts on sockets. Ports stand for objects: the act's own and one beside it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Result, bail};
use outrigger_api::Event;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    AddressFamily, Protocol, SocketType, accept, bind, connect, ipproto, listen, socket,
};

use super::{Act, Stage};

pub(super) fn prepare(event: Event, stage: &Stage) -> Result<Act> {
    let port = u16::try_from(stage.target)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    Ok(match event {
        Event::NetSocket => {
            // The port tells the kinds apart, since a socket has none yet.
            let (kind, protocol) = kind_of(port);
            Box::new(move || Ok(socket(AddressFamily::INET, kind, protocol).map(drop)?))
        }
        Event::NetConnect => {
            let socket = stream()?;
            Box::new(move || Ok(connect(&socket, &address)?))
        }
        Event::NetBind => {
            let socket = stream()?;
            // A connection of an act before may linger at the port.
            set_socket_reuseaddr(&socket, true)?;
            Box::new(move || Ok(bind(&socket, &address)?))
        }
        Event::NetListen => {
            let socket = bound(address)?;
            Box::new(move || Ok(listen(&socket, 1)?))
        }
        Event::NetAccept => {
            let socket = bound(address)?;
            listen(&socket, 1)?;
            let caller = stream()?;
            connect(&caller, &address)?;
            Box::new(move || {
                let _caller = caller;
                Ok(accept(&socket).map(drop)?)
            })
        }
        Event::NetSend => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            Box::new(move || socket.send_to(b"x", address).map(drop))
        }
        Event::UnixConnect => {
            let object = stage.object.clone();
            Box::new(move || UnixStream::connect(object).map(drop))
        }
        other => bail!("nothing causes {other}"),
    })
}

/// An even port stands for a datagram socket.
fn kind_of(port: u16) -> (SocketType, Option<Protocol>) {
    match port % 2 {
        0 => (SocketType::DGRAM, Some(ipproto::UDP)),
        _ => (SocketType::STREAM, Some(ipproto::TCP)),
    }
}

fn stream() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?)
}

fn bound(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = stream()?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

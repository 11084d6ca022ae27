//! Confines itself as `outrigger-fetch` does and tries one act, named by its arguments; says on standard
//! output `ok` or `errno N`. `network PORT ACT…` is confined as for a repository at this port, `folder PATH ACT…`
//! as for this folder.
#![expect(clippy::print_stdout, reason = "its output is what the tests read")]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use outrigger_fetch::confine::{Grants, confine};
use rustix::process::{Pid, Signal, kill_process};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["network", port, act @ ..] => {
            let ports = vec![port.parse().expect("a port"), 53];
            within(&Grants { folders: Vec::new(), network: true, ports }, act);
        }
        ["folder", path, act @ ..] => {
            let folder = File::open(path).expect("a folder");
            let folders = vec![folder.as_fd()];
            within(&Grants { folders, network: false, ports: Vec::new() }, act);
        }
        _ => println!("network PORT ACT or folder PATH ACT"),
    }
}

fn within(grants: &Grants<'_>, act: &[&str]) {
    match confine(grants) {
        Ok(weak) if act == ["weak"] => println!("{weak}"),
        Ok(_) => say(try_act(act)),
        Err(why) => println!("not confined: {why}"),
    }
}

fn try_act(act: &[&str]) -> io::Result<()> {
    match act {
        ["read", path] => {
            File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink())).map(drop)
        }
        ["write", path] => std::fs::write(path, "x"),
        ["make", path] => std::fs::create_dir(path),
        ["remove", path] => std::fs::remove_file(path),
        ["list", path] => std::fs::read_dir(path).map(drop),
        ["execute", path] => Command::new(path).status().map(drop),
        ["thread"] => std::thread::Builder::new().spawn(|| ()).map(drop),
        ["unix", path] => UnixStream::connect(path).map(drop),
        ["tcp", port] => {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))).map(drop)
        }
        ["listen"] => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
        ["receive"] => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop),
        ["raw"] => socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::RAW),
        ["netlink"] => socket(rustix::net::AddressFamily::NETLINK, rustix::net::SocketType::RAW),
        ["resolve", name] => (*name, 80).to_socket_addrs().map(|found| {
            let _: Vec<SocketAddr> = found.collect();
        }),
        ["signal", pid] => {
            let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
            kill_process(pid, Signal::WINCH).map_err(Into::into)
        }
        ["become-root"] => {
            rustix::thread::set_thread_uid(rustix::fs::Uid::ROOT).map_err(Into::into)
        }
        ["user"] => {
            let status = rustix::process::getuid().as_raw();
            Err(io::Error::from_raw_os_error(status.cast_signed()))
        }
        _ => Err(io::Error::other("no such act")),
    }
}

fn socket(family: rustix::net::AddressFamily, kind: rustix::net::SocketType) -> io::Result<()> {
    rustix::net::socket(family, kind, None).map(drop).map_err(Into::into)
}

fn say(result: io::Result<()>) {
    match result {
        Ok(()) => println!("ok"),
        Err(error) => println!("errno {}", error.raw_os_error().unwrap_or_default()),
    }
}

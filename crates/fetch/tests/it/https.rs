//! TLS: who is trusted, and that nothing leads from https to http. And proxies.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;

use outrigger_api::fetch::Cause;

use crate::meeting::with_environment;
use crate::server::{Server, go, ok, tls_file};

fn https(server: &Server) -> String {
    format!("https://127.0.0.1:{}/repo/", server.port())
}

/// What comes to a child that trusts the authority in this file.
fn trusting(authority: &str, base: &str, path: &str) -> Result<String, (Cause, String)> {
    let authority = tls_file(authority);
    with_environment(&[("SSL_CERT_FILE", authority.as_os_str())], base, path)
}

#[test]
fn a_file_comes_over_tls_from_a_server_of_a_trusted_authority() {
    let server = Server::start_tls(|path, stream| ok(stream, path));

    assert_eq!(trusting("authority.pem", &https(&server), "a"), Ok("/repo/a".into()));
}

#[test]
fn a_server_of_another_authority_is_refused() {
    let server = Server::start_tls(|_, stream| ok(stream, "x"));

    // The server's own certificate, as if it were an authority's, vouches for nobody.
    let (cause, why) = trusting("server.pem", &https(&server), "a").unwrap_err();

    assert_eq!(cause, Cause::Unreachable);
    assert!(why.contains("certificate"), "{why}");
    assert_eq!(server.asked(), [] as [&str; 0]);
}

#[test]
fn without_authorities_nothing_is_asked() {
    let server = Server::start_tls(|_, stream| ok(stream, "x"));

    let (cause, why) = trusting("README.md", &https(&server), "a").unwrap_err();

    assert_eq!(cause, Cause::Refused);
    assert!(why.contains("no certificate authorities"), "{why}");
}

#[test]
fn https_never_leads_to_http() {
    let plain = Server::start(|_, stream| ok(stream, "unprotected"));
    let to = plain.url();
    let server = Server::start_tls(move |_, stream| go(stream, &to));

    let (cause, _) = trusting("authority.pem", &https(&server), "a").unwrap_err();

    assert_eq!(cause, Cause::Refused);
    assert_eq!(plain.asked(), [] as [&str; 0]);
}

#[test]
fn a_proxy_of_the_environment_is_asked_in_the_servers_place() {
    let server = Server::start(|_, stream| ok(stream, "direct"));
    let proxy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let place = format!("http://{}", proxy.local_addr().unwrap());
    let (tell, asked) = channel();
    thread::spawn(move || {
        // Hangs up at once; that it was asked is enough.
        let came = proxy.accept().map(drop);
        let _ = tell.send(came.is_ok());
    });

    let failed = with_environment(&[("ALL_PROXY", OsStr::new(&place))], &server.url(), "a");

    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(asked.recv(), Ok(true));
    assert_eq!(server.asked(), [] as [&str; 0]);
}

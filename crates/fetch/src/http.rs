//! A repository on the network.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use outrigger_api::fetch::{Cause, Place};
use ureq::config::Config;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Proxy, ResponseExt};

use crate::channel::{Channel, Failure};

/// How often an answer may send us elsewhere.
const REDIRECTS: u32 = 5;
/// Longest head of an answer, in bytes.
const HEAD_MAX: usize = 32 * 1024;
/// Where names are resolved, if an answer is too long for a datagram.
const DNS: u16 = 53;

/// An `http://` or `https://` base, with a slash at its end.
#[derive(Debug)]
pub(crate) struct Url {
    text: String,
    port: u16,
    is_https: bool,
}

impl Url {
    /// `None` if it is no URL of these two kinds.
    pub(crate) fn parse(given: &str) -> Result<Option<Self>, String> {
        let (is_https, default) = match given.split_once("://") {
            Some(("https", _)) => (true, 443),
            Some(("http", _)) => (false, 80),
            _ => return Ok(None),
        };
        let uri: ureq::http::Uri =
            given.parse().map_err(|error| format!("{given:?} is no URL: {error}"))?;
        let port = uri.port_u16().unwrap_or(default);
        Ok(Some(Self { text: given.to_owned(), port, is_https }))
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) const fn is_https(&self) -> bool {
        self.is_https
    }

    /// The URL of a file under it. Names of metadata are percent-encoded already.
    pub(crate) fn file(&self, place: Place, path: &str) -> String {
        let kept: &[u8] = match place {
            Place::Metadata => b"-._~/!$&'()*+,;=:@%",
            Place::Targets => b"-._~/!$&'()*+,;=:@",
        };
        let mut url = self.text.clone();
        for byte in path.bytes() {
            if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
                url.push(char::from(byte));
            } else {
                write!(url, "%{byte:02X}").expect("a String takes all");
            }
        }
        url
    }
}

/// The client, with what of this machine it needs.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    proxy: Option<u16>,
    only_https: bool,
}

impl Client {
    /// Reads the certificate authorities and the proxy's place; opens no connection.
    pub(crate) fn new(only_https: bool, silence_ms: u32) -> Result<Self, String> {
        let silence = Some(Duration::from_millis(silence_ms.into()));
        let found = rustls_native_certs::load_native_certs();
        if only_https && found.certs.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(format!("this machine has no certificate authorities{why}"));
        }
        let authorities = found.certs.iter().map(|der| Certificate::from_der(der).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(authorities))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        let proxy = Proxy::try_from_env();
        let port = proxy.as_ref().map(Proxy::port);
        // No limit on the whole transfer here: the updater has one.
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .https_only(only_https)
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .save_redirect_history(true)
            .max_response_header_size(HEAD_MAX)
            .user_agent(concat!("outrigger-fetch/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            .timeout_per_write(silence)
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), OnThisThread::default());
        Ok(Self { agent, proxy: port, only_https })
    }

    /// The ports that it connects to besides the repository's: a proxy's, the DNS', and the usual ones, where a
    /// mirror may send it.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        let plain = if self.only_https { None } else { Some(80) };
        [Some(DNS), Some(443), plain, self.proxy].into_iter().flatten()
    }

    pub(crate) fn fetch(
        &self,
        url: &str,
        limit: u64,
        channel: &mut Channel,
    ) -> Result<bool, Failure> {
        let response = self.agent.get(url).call().map_err(failure)?;
        let way = response.get_redirect_history().unwrap_or_default();
        let is_https = |uri: &ureq::http::Uri| uri.scheme_str() == Some("https");
        if way.iter().skip_while(|uri| !is_https(uri)).any(|uri| !is_https(uri)) {
            return Err((Cause::Refused, "it sends us from https to http".to_owned()));
        }
        match response.status().as_u16() {
            200 => {}
            // Object stores say 403 where there is nothing.
            403 | 404 | 410 => return Ok(false),
            status => return Err((Cause::Refused, format!("the answer is HTTP status {status}"))),
        }
        let body = response.into_body();
        let length = body.content_length();
        let mut reader = body.into_reader();
        let mut got = 0_u64;
        channel.copy(length, limit, |chunk| match reader.read(chunk) {
            Ok(read) => {
                got += read as u64;
                Ok(read)
            }
            Err(error) => Err(broken(ureq::Error::from(error), got)),
        })?;
        Ok(true)
    }
}

/// Resolves names without a time limit, for which ureq would make a thread, and this process may make none.
/// The updater has a limit: it ends the process.
#[derive(Debug, Default)]
struct OnThisThread(DefaultResolver);

impl Resolver for OnThisThread {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        self.0.resolve(uri, config, NextTimeout::default())
    }
}

/// A transfer that broke after `got` bytes.
fn broken(error: ureq::Error, got: u64) -> Failure {
    match failure(error) {
        (Cause::Unreachable, why) => (Cause::Truncated, format!("after {got} bytes: {why}")),
        other => other,
    }
}

fn failure(error: ureq::Error) -> Failure {
    let cause = match &error {
        ureq::Error::Timeout(_) => Cause::TooSlow,
        ureq::Error::Io(error) if is_late(error) => Cause::TooSlow,
        ureq::Error::RequireHttpsOnly(_)
        | ureq::Error::TooManyRedirects
        | ureq::Error::RedirectFailed
        | ureq::Error::LargeResponseHeader(..) => Cause::Refused,
        _ => Cause::Unreachable,
    };
    (cause, error.to_string())
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap().unwrap()
    }

    #[test]
    fn a_folder_is_no_url_and_the_port_follows_from_the_kind() {
        assert!(Url::parse("/srv/repo/").unwrap().is_none());
        assert_eq!(url("http://example.org/").port(), 80);
        assert_eq!(url("https://example.org/a/").port(), 443);
        assert_eq!(url("https://[::1]:8443/").port(), 8443);
    }

    #[test]
    fn names_of_metadata_are_encoded_already_and_those_of_targets_are_not() {
        let base = url("https://example.org/r/");

        assert_eq!(base.file(Place::Metadata, "1.%2Fa.json"), "https://example.org/r/1.%2Fa.json");
        assert_eq!(
            base.file(Place::Targets, "a/%2F?#ä"),
            "https://example.org/r/a/%252F%3F%23%C3%A4"
        );
    }
}

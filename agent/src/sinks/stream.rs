//! A connection to a receiver over TCP or TLS, for protocols that are not HTTP.
//!
//! Opened when first needed and again after any error; every operation has a deadline. TLS believes the pinned
//! authority if one is given, else those of the system, and shows a client certificate if there is one.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{DeliveryError, SinkError};
use crate::config::TlsConfig;

/// Where authorities of the system are, in the order distributions use.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How to reach a receiver.
pub(super) struct Target {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) timeout: Duration,
}

/// An open connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Target {
    pub(super) fn open(
        sink: &str,
        address: &str,
        tls: Option<&TlsConfig>,
        timeout: Duration,
    ) -> Result<Self, SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
        let client = tls.map(|tls| client_config(sink, tls)).transpose()?;
        let name = tls.and_then(|tls| tls.server_name.as_deref());
        Self::with(address, client, name, timeout).map_err(setting)
    }

    /// To `address`, `HOST:PORT`, with TLS if it is given; `name` stands in the receiver's certificate, if not the host.
    pub(super) fn with(
        address: &str,
        tls: Option<Arc<ClientConfig>>,
        name: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let (host, _port) =
            address.rsplit_once(':').ok_or_else(|| format!("address `{address}` has no port"))?;
        let tls = match tls {
            Some(client) => {
                let name = name.unwrap_or(host).trim_matches(['[', ']']);
                let name = ServerName::try_from(name.to_owned())
                    .map_err(|error| format!("server name `{name}`: {error}"))?;
                Some((TlsConnector::from(client), name))
            }
            None => None,
        };
        Ok(Self { address: address.to_owned(), tls, timeout })
    }

    pub(super) async fn connect(&self) -> Result<Stream, DeliveryError> {
        let connect = async {
            let socket = self.socket().await?;
            if self.tls.is_some() { self.secured(socket).await } else { Ok(Stream::Plain(socket)) }
        };
        self.timely(connect).await
    }

    /// Without TLS, even if it is configured: for protocols that begin in the clear and change over.
    pub(super) async fn connect_plain(&self) -> Result<Stream, DeliveryError> {
        self.timely(async { self.socket().await.map(Stream::Plain) }).await
    }

    /// Whether TLS is configured.
    pub(super) fn wants_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Changes a connection over to TLS.
    pub(super) async fn secure(&self, stream: Stream) -> Result<Stream, DeliveryError> {
        match stream {
            Stream::Plain(socket) => self.timely(self.secured(socket)).await,
            Stream::Tls(_) => Ok(stream),
        }
    }

    async fn socket(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(&self.address).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn secured(&self, socket: TcpStream) -> io::Result<Stream> {
        let (connector, name) =
            self.tls.as_ref().ok_or_else(|| io::Error::other("no TLS is configured"))?;
        Ok(Stream::Tls(Box::new(connector.connect(name.clone(), socket).await?)))
    }

    async fn timely<T>(
        &self,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, DeliveryError> {
        within(self.timeout, work)
            .await
            .map_err(|error| DeliveryError::retry(format!("{}: {error}", self.address)))
    }
}

/// Waits for something, but not for ever.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

impl Stream {
    /// Says goodbye; a peer that hears none logs an error.
    pub(super) async fn close(mut self, limit: Duration) {
        let _closed = within(limit, self.shutdown()).await;
    }
}

/// What TLS is to believe and to show.
pub(super) fn client_config(
    sink: &str,
    config: &TlsConfig,
) -> Result<Arc<ClientConfig>, SinkError> {
    let file = |path: &PathBuf, error: rustls::pki_types::pem::Error| SinkError::Setting {
        sink: sink.to_owned(),
        reason: format!("{}: {error}", path.display()),
    };
    let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
    let authorities = match &config.ca {
        Some(path) => path.clone(),
        None => {
            SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(
                || setting("no certificate authorities on this host; set tls.ca".to_owned()),
            )?
        }
    };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(&authorities)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file(&authorities, error))?;
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(setting(format!("{}: no certificate in it", authorities.display())));
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let client = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| file(certificate, error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| setting(format!("client certificate: {error}")))?
        }
        (_, _) => builder.with_no_client_auth(),
    };
    Ok(Arc::new(client))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

//! SOCKS5 sign-in: which method is taken (RFC 1928 §3), and user name and password (RFC 1929).

use socks5_server::proto::handshake::password::{
    Error as PasswordError, Request as PasswordRequest, Response as PasswordResponse,
};
use socks5_server::proto::handshake::{Method, Response as MethodResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroize as _;

use crate::credentials::Credentials;
use crate::error::{Rejected, RequestError};
use crate::incoming::Incoming;

/// Chooses among the methods that the client offers and goes through with it.
///
/// With credentials only user name and password will do. Without, a client that insists on signing in may do so with
/// anything: nothing depends on it.
pub(super) async fn sign_in<S>(
    incoming: &mut Incoming<S>,
    offered: &[Method],
    credentials: Option<&Credentials>,
) -> Result<(), Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let method = if credentials.is_none() && offered.contains(&Method::NONE) {
        Method::NONE
    } else if offered.contains(&Method::PASSWORD) {
        Method::PASSWORD
    } else {
        let mut answer = Vec::new();
        MethodResponse::new(Method::UNACCEPTABLE).write_to_buf(&mut answer);
        return Err(Rejected {
            why: RequestError::Method,
            answer,
        });
    };
    MethodResponse::new(method).write_to(incoming).await?;
    if method == Method::PASSWORD {
        check_password(incoming, credentials).await?;
    }
    Ok(())
}

async fn check_password<S>(
    incoming: &mut Incoming<S>,
    credentials: Option<&Credentials>,
) -> Result<(), Rejected>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = match PasswordRequest::read_from(incoming).await {
        Ok(request) => request,
        Err(PasswordError::SubNegotiationVersion { version }) => {
            return Err(refused(RequestError::SignInVersion { version }));
        }
        Err(PasswordError::SubNegotiationStatus { .. }) => return Err(refused(RequestError::Credentials)),
        Err(PasswordError::Io(error)) => return Err(error.into()),
    };
    let matches = credentials.is_none_or(|known| known.matches(&request.username, &request.password));
    request.username.zeroize();
    request.password.zeroize();
    if !matches {
        return Err(refused(RequestError::Credentials));
    }
    PasswordResponse::new(true).write_to(incoming).await?;
    Ok(())
}

/// A failed sign-in ends the connection (RFC 1929 §2).
fn refused(why: RequestError) -> Rejected {
    let mut answer = Vec::new();
    PasswordResponse::new(false).write_to_buf(&mut answer);
    Rejected { why, answer }
}

//! The protocol on standard input and output, for one client that has started this program.

use std::{io, sync::Arc};

use rmcp::{
    ServiceExt,
    service::{QuitReason, ServerInitializeError},
    transport::io::stdio_pipes,
};

use crate::config::Config;

use super::{Mcp, protocol::Server};

/// Why a client was not answered to its end.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    #[error("the system gives no thread: {0}")]
    Thread(#[from] io::Error),
    #[error("the client does not begin as the protocol has it: {0}")]
    Beginning(#[from] Box<ServerInitializeError>),
    #[error("the server panicked")]
    Panicked,
}

/// Answers until the client closes standard input. Nothing else may be written to standard output meanwhile.
///
/// # Errors
/// If the client doesn't speak the protocol.
pub async fn serve_stdio(config: &Config) -> Result<(), StdioError> {
    let server = Server(Arc::new(Mcp::alone(config)?));
    let running = match server.serve(stdio_pipes()).await {
        Ok(running) => running,
        // It went away before it began.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(Box::new(error).into()),
    };
    match running.waiting().await {
        Ok(QuitReason::JoinError(_)) | Err(_) => Err(StdioError::Panicked),
        Ok(_) => Ok(()),
    }
}

//! Finds a container engine that answers. It must not start containers: that takes an HTTP client.

use std::env;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A socket file without an engine is common, and so is an engine that never answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// A container engine that has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    host: String,
}

impl Engine {
    /// Asks the engine that `DOCKER_HOST` names, or else those at the usual places, the rootless
    /// ones and Podman's among them. The first that answers is taken.
    pub fn find() -> Option<Self> {
        candidates().into_iter().find(|host| answers(host)).map(|host| Self { host })
    }

    /// Where it is, as `DOCKER_HOST` wants it.
    pub fn host(&self) -> &str {
        &self.host
    }
}

fn candidates() -> Vec<String> {
    if let Ok(given) = env::var("DOCKER_HOST") {
        return vec![given];
    }
    let below = |variable: &str, path: &str| {
        env::var_os(variable).map(|directory| PathBuf::from(directory).join(path))
    };
    [
        Some(PathBuf::from("/var/run/docker.sock")),
        below("XDG_RUNTIME_DIR", "docker.sock"),
        below("HOME", ".docker/run/docker.sock"),
        below("XDG_RUNTIME_DIR", "podman/podman.sock"),
    ]
    .into_iter()
    .flatten()
    .map(|path| format!("unix://{}", path.display()))
    .collect()
}

fn answers(host: &str) -> bool {
    let status = if let Some(path) = host.strip_prefix("unix://") {
        UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ping(stream)
        })
    } else if let Some(address) = host.strip_prefix("tcp://") {
        connect(address).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            ping(stream)
        })
    } else {
        return false;
    };
    status.is_ok_and(|line| line.contains(" 200 "))
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let addresses = address.to_socket_addrs()?;
    let mut outcome = Err(std::io::ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        outcome = TcpStream::connect_timeout(&address, PATIENCE);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The first bytes of the answer, which hold its status.
fn ping(mut stream: impl Read + Write) -> std::io::Result<String> {
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")?;
    let mut start = [0; 32];
    let length = stream.read(&mut start)?;
    Ok(String::from_utf8_lossy(&start[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::answers;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    fn engine_that_says(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 256]);
            let _ = stream.write_all(answer);
        });
        format!("tcp://{address}")
    }

    #[test]
    fn engine_is_found_only_if_it_answers_well() {
        assert!(answers(&engine_that_says(b"HTTP/1.1 200 OK\r\n\r\nOK")));
        assert!(!answers(&engine_that_says(b"HTTP/1.1 500 Internal Server Error\r\n\r\n")));
        assert!(!answers("unix:///nonexistent/docker.sock"));
        assert!(!answers("npipe:////./pipe/docker_engine"));
    }
}

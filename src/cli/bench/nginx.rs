//! nginx beside the gateway, as the mark to be measured by: two workers that pass bytes on with kept-alive connections to the
//! provider. It checks, meters and decides nothing.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::child::{Folder, await_listener, free_address};
use super::process::Watched;

/// Said where there is no nginx.
pub(super) const MISSING: &str = "nginx is not installed, so that there is no ratio to it: `apt-get install nginx-light` (Debian, \
                                  Ubuntu), `dnf install nginx` (Fedora) or `apk add nginx` (Alpine); it is not left running";

/// A running nginx.
pub(super) struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: Folder,
}

impl Nginx {
    /// Where nginx is installed.
    pub(super) fn find() -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders =
            std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
        folders.map(|folder| folder.join("nginx")).find(|file| file.is_file())
    }

    /// Its version, such as `nginx/1.22.1`.
    pub(super) fn version(binary: &Path) -> Option<String> {
        let said = Command::new(binary).arg("-v").output().ok()?;
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        text.trim().strip_prefix("nginx version: ").map(str::to_owned)
    }

    /// Starts it in front of `provider` with room for so many clients.
    pub(super) fn start(binary: &Path, provider: SocketAddr, clients: usize) -> io::Result<Self> {
        let folder = Folder::new("nginx")?;
        let address = free_address()?;
        let root = fs::metadata(folder.path())?.uid() == 0;
        fs::write(folder.path().join("nginx.conf"), configuration(address, provider, clients, root))?;
        let mut process = Command::new(binary)
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let Err(error) = await_listener(&mut process, address) {
            let log = fs::read_to_string(folder.path().join("error.log")).unwrap_or_default();
            let _ = process.kill();
            let _ = process.wait();
            return Err(io::Error::other(format!("nginx: {error}\n{}", log.trim_end())));
        }
        Ok(Self { process, address, _folder: folder })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn watched(&self) -> io::Result<Watched> {
        Watched::family(self.process.id())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM; killed outright it would leave them behind.
        let told = Command::new("kill").arg(self.process.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn configuration(listen: SocketAddr, provider: SocketAddr, clients: usize, root: bool) -> String {
    let user = if root { "user root;\n" } else { "" };
    // Each client has a connection to the provider beside its own.
    let connections = (clients * 2 + 512).max(1_024);
    let descriptors = connections + 512;
    format!(
        "{user}worker_processes 2;
worker_rlimit_nofile {descriptors};
daemon off;
pid nginx.pid;
error_log error.log error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    client_max_body_size 64m;
    client_body_buffer_size 512k;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    upstream provider {{
        server {provider};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen} reuseport backlog=4096;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 300s;
        }}
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_gives_nginx_what_the_gateway_has() {
        let [listen, provider] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let text = configuration(listen, provider, 64, false);
        for line in ["worker_connections 1024;", "listen 127.0.0.1:1 reuseport", "server 127.0.0.1:2;"] {
            assert!(text.contains(line), "{line}");
        }
        assert!(!text.contains("user "));
        assert!(configuration(listen, provider, 10_000, true).contains("user root;\n"));
    }
}

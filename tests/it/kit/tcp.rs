//! A TCP link between one client and one server that can be cut, held, slowed, or lose what it carries.
//!
//! Its invariant: what was lost stays lost. A connection that lost a byte is cut when the link is open again, so that no
//! server reads a stream with a gap. What was held is delivered late, and in order.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{PATIENCE, free_port, runtime};

/// What a link does with what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// It carries everything.
    Open,
    /// Connections are cut, and new ones refused.
    Refused,
    /// Connections stay, and everything that is sent is lost: a network that drops packets.
    Lossy,
    /// Connections stay, and everything that is sent arrives when the link is open again.
    Held,
    /// Each read is carried on this much later.
    Slow(Duration),
}

impl Link {
    /// Whether connections that stand cannot go on when the link changes from this to another.
    fn breaks(self, next: Self) -> bool {
        next == Self::Refused || (self == Self::Lossy && next != self)
    }
}

/// The link now, and a number that changes when standing connections have to end.
#[derive(Debug, Clone, Copy)]
struct Shape {
    link: Link,
    cut: u64,
}

/// The link. Dropping it closes its port and every connection.
pub struct TcpLink {
    address: SocketAddr,
    shape: watch::Sender<Shape>,
    lost: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl TcpLink {
    /// An open link to this address, on a port of its own.
    pub fn start(upstream: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        Self::start_on(address, upstream)
    }

    /// An open link to this address, on this port, which has to be free.
    pub fn start_on(address: SocketAddr, upstream: SocketAddr) -> Self {
        let (shape, watched) = watch::channel(Shape { link: Link::Open, cut: 0 });
        let listener = {
            let _inside = runtime().enter();
            reserve(address).and_then(|socket| socket.listen(128)).expect("the port is ours")
        };
        let lost = Arc::new(AtomicUsize::new(0));
        let accepting = runtime().spawn(accept(address, upstream, listener, watched, Arc::clone(&lost)));
        Self { address, shape, lost, accepting }
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is like this.
    pub fn set(&self, link: Link) {
        self.shape.send_modify(|shape| {
            shape.cut += u64::from(shape.link.breaks(link));
            shape.link = link;
        });
    }

    /// What it is now.
    pub fn link(&self) -> Link {
        self.shape.borrow().link
    }

    /// How many bytes it has lost.
    pub fn lost(&self) -> usize {
        self.lost.load(SeqCst)
    }
}

impl Drop for TcpLink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A socket that holds the port, and refuses connections until it listens.
pub(super) fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The same after a listener on the port: a child that another test is starting may hold a copy of that until it has
/// become its program.
async fn reserve_again(address: SocketAddr) -> TcpSocket {
    let began = Instant::now();
    loop {
        match reserve(address) {
            Ok(socket) => return socket,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{address} is not ours any more: {error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn accept(
    address: SocketAddr,
    upstream: SocketAddr,
    first: TcpListener,
    mut shape: watch::Receiver<Shape>,
    lost: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    let mut listening = Some(first);
    loop {
        let refused = shape.borrow_and_update().link == Link::Refused;
        if refused {
            drop(listening.take());
            let socket = reserve_again(address).await;
            if shape.wait_for(|shape| shape.link != Link::Refused).await.is_err() {
                return;
            }
            listening = Some(socket.listen(128).expect("the port is still ours"));
            continue;
        }
        let Some(listener) = &listening else { return };
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(carry(client, upstream, shape.clone(), Arc::clone(&lost)));
                }
            }
            Some(_) = connections.join_next() => {}
            changed = shape.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection, until one of its ends closes it or the link has to break it.
async fn carry(client: TcpStream, upstream: SocketAddr, shape: watch::Receiver<Shape>, lost: Arc<AtomicUsize>) {
    let cut = shape.borrow().cut;
    let mut broken = shape.clone();
    let both = async {
        let Ok(server) = TcpStream::connect(upstream).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, shape.clone(), cut, &lost),
            pump(from_server, to_client, shape, cut, &lost)
        );
    };
    tokio::select! {
        () = both => {}
        _ = broken.wait_for(|shape| shape.cut != cut) => {}
    }
}

/// One direction of a connection. An error is an end that has gone.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut shape: watch::Receiver<Shape>,
    cut: u64,
    lost: &AtomicUsize,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = shape.wait_for(|shape| shape.link != Link::Held).await.map(|shape| *shape) else { return };
        // Read late: it was sent while the link was another, and the connection is being cut.
        if now.cut != cut {
            return;
        }
        match now.link {
            Link::Lossy => {
                lost.fetch_add(read, SeqCst);
                continue;
            }
            Link::Slow(delay) => sleep(delay).await,
            // The connection is being cut.
            Link::Refused => return,
            Link::Open | Link::Held => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

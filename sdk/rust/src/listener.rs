//! The thread that waits for the host's messages and hands them to the judging thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use outrigger_api::frame::v1::to_engine::Message;
use outrigger_api::frame::{FRAME_MAX, FrameError, decode_to_engine};
use outrigger_dock::{Doorbell, control};

use crate::run::RunError;

/// What the judging thread is to do between two questions.
#[derive(Debug)]
pub(crate) enum Order {
    /// Show that it is not stuck.
    Answer { nonce: u64 },
    /// Read the content again.
    Reload,
    /// Finish: the host said so.
    Stop,
    /// Finish: the host is gone.
    Leave,
    /// Finish: the host cannot be understood.
    Fail(RunError),
}

/// Starts the thread. It ends with the socket, and rings `bell` for every order.
pub(crate) fn start(control: Arc<OwnedFd>, bell: Doorbell) -> io::Result<Receiver<Order>> {
    let (orders, receiver) = channel();
    let thread = std::thread::Builder::new().name("control".to_owned());
    thread.spawn(move || listen(&control, &bell, &orders))?;
    Ok(receiver)
}

fn listen(control: &OwnedFd, bell: &Doorbell, orders: &Sender<Order>) {
    let mut packet = [0; FRAME_MAX];
    loop {
        let Some(order) = next(control, &mut packet) else { continue };
        let last = matches!(order, Order::Leave | Order::Fail(_));
        let taken = orders.send(order).is_ok();
        bell.ring();
        if last || !taken {
            return;
        }
    }
}

/// The next order; `None` for a message that a later contract may have and this SDK does not know.
fn next(control: &OwnedFd, packet: &mut [u8]) -> Option<Order> {
    let received = match control::recv(control.as_fd(), packet) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Some(Order::Leave),
        Err(error) => return Some(Order::Fail(RunError::Control(error))),
    };
    match decode_to_engine(&packet[..received.len]) {
        Ok(Message::Ping(ping)) => Some(Order::Answer { nonce: ping.nonce }),
        Ok(Message::Reload(_)) => Some(Order::Reload),
        Ok(Message::Stop(_)) => Some(Order::Stop),
        Ok(Message::Welcome(_) | Message::Refused(_)) => Some(Order::Fail(RunError::Unexpected)),
        Err(FrameError::Unknown) => None,
        Err(error) => Some(Order::Fail(RunError::Frame(error))),
    }
}

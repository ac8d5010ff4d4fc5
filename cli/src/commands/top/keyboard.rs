//! The keyboard, for which a thread waits: so the view ends also while the store does not answer. It must not know what a key does,
//! beside ending the view.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::{mpsc, oneshot};

/// How long the keyboard is waited for before it is looked whether the view has ended, and before it is drawn again.
const LOOK: Duration = Duration::from_millis(50);

/// How many keys are kept while the store does not answer. Later ones are ignored.
const KEYS_KEPT: usize = 64;

/// The keys that are pressed.
#[derive(Debug)]
pub(super) struct Keyboard(mpsc::Receiver<io::Result<KeyEvent>>);

impl Keyboard {
    /// Starts the thread. It ends with the keyboard, or with a key that ends the view, which the second value tells.
    pub(super) fn open() -> io::Result<(Self, oneshot::Receiver<()>)> {
        let (keys, pressed) = mpsc::channel(KEYS_KEPT);
        let (end, ended) = oneshot::channel();
        let wait = move || {
            while !keys.is_closed() {
                match key() {
                    Ok(None) => {}
                    Ok(Some(key)) if ends(key) => {
                        // Without a receiver, the view has ended anyway.
                        let _ = end.send(());
                        return;
                    }
                    Ok(Some(key)) => drop(keys.try_send(Ok(key))),
                    Err(error) => return drop(keys.blocking_send(Err(error))),
                }
            }
        };
        std::thread::Builder::new().name("keyboard".to_owned()).spawn(wait)?;
        Ok((Self(pressed), ended))
    }

    /// A key that was pressed, if one was soon.
    pub(super) async fn key(&mut self) -> io::Result<Option<KeyEvent>> {
        match tokio::time::timeout(LOOK, self.0.recv()).await {
            Ok(Some(key)) => key.map(Some),
            // The thread has ended, and so does the view.
            Ok(None) => std::future::pending().await,
            Err(_) => Ok(None),
        }
    }
}

/// A key that was pressed, if one was soon.
fn key() -> io::Result<Option<KeyEvent>> {
    if !event::poll(LOOK)? {
        return Ok(None);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind == KeyEventKind::Press => Some(key),
        _ => None,
    })
}

/// Whether a key ends the view, whatever it shows. The terminal makes no signal of Ctrl-C meanwhile.
fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        KeyCode::Char('q') => true,
        _ => false,
    }
}

/// Waits until another program asks this one to end: otherwise that would leave the terminal as the view needs it.
#[cfg(unix)]
pub(super) async fn told_to_end() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    Ok(())
}

/// Waits until another program asks this one to end.
#[cfg(not(unix))]
pub(super) async fn told_to_end() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_control_c_end_the_view_and_c_does_not() {
        let plain = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        assert!(ends(plain('q')) && ends(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!ends(plain('c')) && !ends(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE)));
    }
}

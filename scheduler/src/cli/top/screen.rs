//! The terminal of `windlass top`: keys in, pictures out.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use windlass_core::api::Request;
use windlass_core::id::QueueName;

use super::{Picture, look, view};
use crate::cli::connect::Server;
use crate::cli::error::CliError;

/// Keys that may wait while a picture is drawn.
const KEYS_MAX: usize = 64;
/// How often the key reader looks whether it should end.
const POLL: Duration = Duration::from_millis(100);

/// What the screen shows besides the server's figures.
pub(super) struct Screen {
    /// The last look.
    pub(super) picture: Picture,
    /// Address of the server.
    pub(super) server: String,
    /// The chosen queue; kept by name, because queues come and go.
    pub(super) chosen: Option<QueueName>,
    /// Whether the picture stands still.
    pub(super) frozen: bool,
    /// The last thing that was done or went wrong.
    pub(super) message: String,
    /// Enqueued per second, one value per look, newest last.
    pub(super) rates: Vec<u64>,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Quit,
    Freeze,
    Refresh,
    Move(isize),
    TogglePause,
    Nothing,
}

/// Looks kept for the sparkline.
const RATES_MAX: usize = 240;

/// Shows the screen until `q`.
///
/// # Errors
/// When the server cannot be asked at the start, or the terminal fails.
pub(super) async fn run(server: &Server, address: &str, interval: Duration) -> Result<(), CliError> {
    let picture = look(server).await?;
    let mut screen = Screen {
        picture,
        server: address.to_owned(),
        chosen: None,
        frozen: false,
        message: String::new(),
        rates: Vec::new(),
    };
    let (keys, inbox) = mpsc::channel(KEYS_MAX);
    // `init` sets a panic hook that restores the terminal; `restore` is for every other way out.
    let mut terminal = ratatui::init();
    let reader = std::thread::Builder::new().name("keys".to_owned()).spawn(move || read_keys(&keys));
    let result = match reader {
        Ok(_) => watch(server, &mut screen, &mut terminal, inbox, interval).await,
        Err(e) => Err(CliError::failure(format!("top: no thread for the keyboard: {e}"))),
    };
    ratatui::restore();
    result
}

/// Reads keys until nobody wants them any more.
fn read_keys(keys: &mpsc::Sender<Event>) {
    while !keys.is_closed() {
        match event::poll(POLL) {
            Ok(true) => match event::read() {
                // A full channel drops the key: somebody leans on the keyboard.
                Ok(event) => _ = keys.try_send(event),
                Err(_) => return,
            },
            Ok(false) => {}
            Err(_) => return,
        }
    }
}

async fn watch(
    server: &Server,
    screen: &mut Screen,
    terminal: &mut ratatui::DefaultTerminal,
    mut inbox: mpsc::Receiver<Event>,
    interval: Duration,
) -> Result<(), CliError> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        terminal.draw(|frame| view::draw(frame, screen))?;
        tokio::select! {
            _ = ticks.tick() => {
                if !screen.frozen {
                    screen.refresh(server).await;
                }
            }
            event = inbox.recv() => {
                let Some(event) = event else { return Ok(()) };
                match wish(&event) {
                    Wish::Quit => return Ok(()),
                    Wish::Freeze => screen.frozen = !screen.frozen,
                    Wish::Refresh => screen.refresh(server).await,
                    Wish::Move(step) => screen.choose(step),
                    Wish::TogglePause => screen.toggle_pause(server).await,
                    Wish::Nothing => {}
                }
            }
        }
    }
}

fn wish(event: &Event) -> Wish {
    let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return Wish::Nothing };
    if *kind == KeyEventKind::Release {
        return Wish::Nothing;
    }
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char('p') => Wish::Freeze,
        KeyCode::Char('r') => Wish::Refresh,
        KeyCode::Char('P') => Wish::TogglePause,
        KeyCode::Up | KeyCode::Char('k') => Wish::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Wish::Move(1),
        KeyCode::PageUp => Wish::Move(-10),
        KeyCode::PageDown => Wish::Move(10),
        _ => Wish::Nothing,
    }
}

impl Screen {
    /// Index of the chosen queue in the picture.
    pub(super) fn index(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.picture.queues.iter().position(|queue| queue.name == *chosen)
    }

    fn choose(&mut self, step: isize) {
        let last = self.picture.queues.len().saturating_sub(1);
        let index = match self.index() {
            Some(index) => index.saturating_add_signed(step).min(last),
            None => 0,
        };
        self.chosen = self.picture.queues.get(index).map(|queue| queue.name.clone());
    }

    /// Looks again; a server that is away leaves the last picture, with the reason below it.
    async fn refresh(&mut self, server: &Server) {
        let begun = Instant::now();
        match look(server).await {
            Ok(picture) => {
                // Rates are small positive numbers; a fraction of a job is not drawn.
                self.rates.push(picture.overview.enqueue_rate.round() as u64);
                let surplus = self.rates.len().saturating_sub(RATES_MAX);
                self.rates.drain(..surplus);
                self.picture = picture;
                if begun.elapsed() > Duration::from_secs(1) {
                    self.message = format!("the server took {} ms to answer", begun.elapsed().as_millis());
                }
            }
            Err(error) => self.message = error.text,
        }
    }

    async fn toggle_pause(&mut self, server: &Server) {
        let Some(index) = self.index() else {
            "choose a queue with ↑ ↓ first".clone_into(&mut self.message);
            return;
        };
        let queue = &self.picture.queues[index];
        let (name, paused) = (queue.name.clone(), queue.paused);
        let request = if paused {
            Request::ResumeQueue { queue: name.clone() }
        } else {
            Request::PauseQueue { queue: name.clone() }
        };
        self.message = match server.call(request).await {
            Ok(_) => format!("queue {name} {}", if paused { "resumed" } else { "paused" }),
            Err(error) => error.text,
        };
        self.refresh(server).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode) -> Event {
        Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Only a capital letter changes something on the server.
    #[test]
    fn small_letters_change_nothing() {
        let steering: Vec<char> =
            ('a'..='z').filter(|c| wish(&key(KeyCode::Char(*c))) == Wish::TogglePause).collect();
        assert!(steering.is_empty(), "{steering:?}");
        assert_eq!(wish(&key(KeyCode::Char('P'))), Wish::TogglePause);
        assert_eq!(wish(&key(KeyCode::Char('q'))), Wish::Quit);
    }
}

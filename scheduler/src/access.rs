//! Who is let in: the tokens of the store, the one of the configuration, and nobody's right while there is none.
//!
//! Every door asks here once per connection or request ([`Access::identify`]) and again before it acts ([`Access::is_live`]), so
//! that a revoked token ends conversations that are open already. What a caller may do is decided by [`windlass_core::access`].
//!
//! Tokens are read once, at the start, and held in memory; there are few. A change is durable before it is in force.

mod audit;
pub(crate) mod guard;
mod secret;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use windlass_core::access::{
    Caller, Principal, Role, TokenId, TokenRecord, TokenText, check_name, decode_token, encode_token,
};
use windlass_core::api::{ApiError, ErrorCode, NewToken, TokenSpec, TokenView};
use windlass_core::limits;
use windlass_core::store::Write;
use windlass_core::store::keys::{region, region_range, token_key};
use windlass_core::time::Timestamp;

pub use audit::Audit;
pub use secret::AdminToken;

use self::secret::{hash, same};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::node::{NodeConfig, StartError};
use crate::queue::unwritten;
use crate::store::writer::StoreWriter;

/// A cheap handle of who is let in; usable from any thread.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

struct Inner {
    writer: StoreWriter,
    clock: Clock,
    chance: Chance,
    roots: Roots,
    state: Mutex<State>,
    /// Changes are made one after the other, each durable before the next looks.
    turn: tokio::sync::Mutex<()>,
}

/// The tokens that do not stand in the store.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Of the configuration: an admin's.
    pub admin: Option<AdminToken>,
    /// Of what runs within this process.
    pub own: Option<AdminToken>,
}

impl Roots {
    /// Those of a node's settings.
    #[must_use]
    pub fn of(config: &NodeConfig) -> Roots {
        Roots { admin: config.admin_token.clone(), own: config.own_token.clone() }
    }
}

struct State {
    tokens: BTreeMap<TokenId, Entry>,
    /// Ends whoever came in before there was a token.
    open: CancellationToken,
}

struct Entry {
    record: TokenRecord,
    /// Ends whoever came in with it.
    ended: CancellationToken,
}

impl Access {
    /// Reads the tokens of the store.
    ///
    /// # Errors
    /// When one cannot be read: a token that vanished in silence would leave the doors open.
    pub fn recover(
        writer: StoreWriter,
        clock: Clock,
        chance: Chance,
        roots: Roots,
    ) -> Result<Access, StartError> {
        let mut tokens = BTreeMap::new();
        let mut broken = None;
        let (from, to) = region_range(region::TOKEN);
        let scanned = writer.store().scan(&from, &to, &mut |_, value| match decode_token(&value) {
            Ok(record) => {
                tokens.insert(record.id, Entry { record, ended: CancellationToken::new() });
                true
            }
            Err(error) => {
                broken = Some(error.to_string());
                false
            }
        });
        if let Some(error) = broken.or_else(|| scanned.err().map(|e| e.to_string())) {
            return Err(StartError::Failed(format!("the access tokens cannot be read: {error}")));
        }
        let state = Mutex::new(State { tokens, open: CancellationToken::new() });
        let turn = tokio::sync::Mutex::default();
        Ok(Access { inner: Arc::new(Inner { writer, clock, chance, roots, state, turn }) })
    }

    /// Whether a token is asked for: there is one, in the store or in the configuration. One that has expired counts, or the doors
    /// would open by themselves one night.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.roots.admin.is_some() || !self.state().tokens.is_empty()
    }

    /// Who comes with this text from this address.
    ///
    /// # Errors
    /// `Denied`.
    pub fn identify(&self, text: Option<&str>, from: &str) -> Result<Caller, ApiError> {
        if text.is_some_and(|text| self.inner.roots.own.as_ref().is_some_and(|own| own.is(text))) {
            return Ok(Caller::process().at(from));
        }
        if !self.is_closed() {
            return Ok(Caller::unlimited(Principal::Anyone, "anyone").at(from));
        }
        let Some(text) = text else {
            let text = "an access token is needed; `windlass token create` makes one";
            return Err(ApiError::new(ErrorCode::Denied, text));
        };
        self.known(text.trim()).map(|caller| caller.at(from)).ok_or_else(|| {
            let text = "the access token is not one of this server's, has expired or was revoked";
            ApiError::new(ErrorCode::Denied, text)
        })
    }

    fn known(&self, text: &str) -> Option<Caller> {
        if self.inner.roots.admin.as_ref().is_some_and(|root| root.is(text)) {
            return Some(Caller::unlimited(Principal::Root, "root"));
        }
        let given = TokenText::parse(text)?;
        let given_hash = hash(given.secret());
        let state = self.state();
        let record = &state.tokens.get(&given.id)?.record;
        let good = same(&record.hash, &given_hash) && !self.is_over(record.expires_at);
        good.then(|| caller(record))
    }

    fn is_over(&self, expires_at: Option<Timestamp>) -> bool {
        expires_at.is_some_and(|at| at <= self.inner.clock.now().wall)
    }

    /// Whether a caller that was let in may stay.
    #[must_use]
    pub fn is_live(&self, caller: &Caller) -> bool {
        let stands = match &caller.principal {
            Principal::Process | Principal::Root | Principal::Password => true,
            Principal::Anyone => !self.state().open.is_cancelled(),
            Principal::Token(id) => self.state().tokens.contains_key(id),
        };
        stands && !self.is_over(caller.expires_at)
    }

    /// Set when a caller that was let in has to go, apart from a token that expires.
    fn ended(&self, caller: &Caller) -> CancellationToken {
        let gone = || {
            let gone = CancellationToken::new();
            gone.cancel();
            gone
        };
        match &caller.principal {
            Principal::Process | Principal::Root | Principal::Password => CancellationToken::new(),
            Principal::Anyone => self.state().open.clone(),
            Principal::Token(id) => {
                self.state().tokens.get(id).map_or_else(gone, |entry| entry.ended.clone())
            }
        }
    }

    /// Resolves when a caller that was let in has to go.
    pub async fn leave(&self, caller: &Caller) {
        let ended = self.ended(caller);
        let Some(at) = caller.expires_at else { return ended.cancelled().await };
        loop {
            let left = at.since_ms(self.inner.clock.now().wall);
            if left == 0 {
                return;
            }
            // In steps, since the wall clock may be moved meanwhile.
            let step = std::time::Duration::from_millis(left.min(EXPIRY_STEP_MS));
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(step) => {}
            }
        }
    }

    /// The passwords of the Faktory door, with whom each lets in.
    #[must_use]
    pub fn faktory_words(&self) -> Vec<(Caller, String)> {
        let state = self.state();
        let live = state.tokens.values().filter(|entry| !self.is_over(entry.record.expires_at));
        live.filter_map(|entry| Some((caller(&entry.record), entry.record.faktory.clone()?))).collect()
    }

    /// All tokens, by name.
    #[must_use]
    pub fn list(&self) -> Vec<TokenView> {
        let mut views: Vec<TokenView> =
            self.state().tokens.values().map(|entry| entry.record.view()).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Makes a token; the answer is the only place where its secret ever stands.
    ///
    /// # Errors
    /// `Invalid`, `Conflict`, or what keeps the store from writing.
    pub async fn create(&self, spec: TokenSpec) -> Result<NewToken, ApiError> {
        let _turn = self.inner.turn.lock().await;
        self.check(&spec)?;
        let chance = &self.inner.chance;
        let mut secret = [0; 32];
        secret[..16].copy_from_slice(&chance.u128().to_be_bytes());
        secret[16..].copy_from_slice(&chance.u128().to_be_bytes());
        let text = TokenText::new(chance.u64(), secret);
        let now = self.inner.clock.now().wall;
        let record = TokenRecord {
            id: text.id,
            name: spec.name,
            role: spec.role,
            queues: spec.queues,
            created_at: now,
            expires_at: spec.expires_in_ms.map(|ms| now.plus_ms(ms)),
            hash: hash(text.secret()),
            faktory: spec.faktory.then(|| secret::faktory_password(&text)),
        };
        let put = Write::Put { key: token_key(record.id), value: encode_token(&record) };
        commit(&self.inner.writer, vec![put]).await?;
        let made = NewToken {
            view: record.view(),
            secret: text.to_text(),
            faktory_password: record.faktory.clone(),
        };
        let mut state = self.state();
        state.tokens.insert(record.id, Entry { record, ended: CancellationToken::new() });
        // Whoever came in while everybody could has to come again, with a token.
        state.open.cancel();
        Ok(made)
    }

    fn check(&self, spec: &TokenSpec) -> Result<(), ApiError> {
        let invalid = |text: String| Err(ApiError::new(ErrorCode::Invalid, text));
        check_name(&spec.name).map_err(|e| ApiError::new(ErrorCode::Invalid, e.0))?;
        if spec.queues.len() > limits::TOKEN_QUEUES_MAX {
            return invalid(format!("a token is limited to at most {} queues", limits::TOKEN_QUEUES_MAX));
        }
        if spec.role == Role::Admin && !spec.queues.is_empty() {
            return invalid("an admin's token cannot be limited to queues; make an operator's".to_owned());
        }
        if spec.expires_in_ms.is_some_and(|ms| ms == 0 || ms > limits::DELAY_MS_MAX) {
            return invalid("a token expires after 1 ms to ten years".to_owned());
        }
        let state = self.state();
        let is_first =
            self.inner.roots.admin.is_none() && !state.tokens.values().any(|entry| opens_all(&entry.record));
        if is_first && (spec.role != Role::Admin || spec.expires_in_ms.is_some()) {
            return invalid(
                "the first token has to be an admin's without an expiry, since from then on tokens are asked for: \
                 windlass token create NAME --role admin"
                    .to_owned(),
            );
        }
        if state.tokens.len() >= limits::TOKENS_MAX {
            return invalid(format!("there are {} tokens already; revoke some", limits::TOKENS_MAX));
        }
        if spec.faktory
            && state.tokens.values().filter(|entry| entry.record.faktory.is_some()).count()
                >= limits::FAKTORY_TOKENS_MAX
        {
            let max = limits::FAKTORY_TOKENS_MAX;
            return invalid(format!("there are {max} tokens for the Faktory door already; revoke some"));
        }
        if state.tokens.values().any(|entry| entry.record.name == spec.name) {
            let text = format!("there is a token {:?} already; revoke it or choose another name", spec.name);
            return Err(ApiError::new(ErrorCode::Conflict, text));
        }
        Ok(())
    }

    /// Ends a token, given by name or id, at once and at every door.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when nobody could make a token any more; or what keeps the store from writing.
    pub async fn revoke(&self, text: &str) -> Result<TokenView, ApiError> {
        let _turn = self.inner.turn.lock().await;
        let view = {
            let state = self.state();
            let id = TokenId::parse(text);
            let found = state.tokens.values().find(|e| Some(e.record.id) == id || e.record.name == text);
            let Some(found) = found else {
                return Err(ApiError::new(ErrorCode::NotFound, format!("there is no token {text:?}")));
            };
            let mut others = state.tokens.values().filter(|e| e.record.id != found.record.id);
            if self.inner.roots.admin.is_none()
                && opens_all(&found.record)
                && !others.any(|e| opens_all(&e.record))
            {
                let text = "this is the last admin's token that does not expire, and without one nobody could make another; \
                            create a new one first";
                return Err(ApiError::new(ErrorCode::Conflict, text));
            }
            found.record.view()
        };
        commit(&self.inner.writer, vec![Write::Delete { key: token_key(view.id) }]).await?;
        if let Some(entry) = self.state().tokens.remove(&view.id) {
            entry.ended.cancel();
        }
        Ok(view)
    }

    /// Held for a few map operations and never across a wait.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest sleep until it is looked at again whether a token has expired.
const EXPIRY_STEP_MS: u64 = 1_000;

/// Whether it is an admin's and stays good.
fn opens_all(record: &TokenRecord) -> bool {
    record.role == Role::Admin && record.expires_at.is_none()
}

fn caller(record: &TokenRecord) -> Caller {
    Caller {
        principal: Principal::Token(record.id),
        name: record.name.clone(),
        from: String::new(),
        grant: record.grant(),
        expires_at: record.expires_at,
    }
}

/// The answer to whoever came in with a token that is good for nothing any more.
pub(crate) fn no_longer() -> ApiError {
    ApiError::new(ErrorCode::Denied, NO_LONGER)
}

/// What everybody is told whose token has ended, at every door.
pub(crate) const NO_LONGER: &str = "the access token has expired or was revoked";

/// Commits a few small writes; the reserve of a full disk is theirs, so that a token can be revoked then.
async fn commit(writer: &StoreWriter, writes: Vec<Write>) -> Result<(), ApiError> {
    writer.write(writes, true).await.map_err(unwritten)
}

//! Handlers: functions whose arguments are taken from the job, like those of a web framework.
//!
//! An argument is the payload when serde can read it; [`JobCtx`], [`State`] and [`RawPayload`] are taken from the job's
//! surroundings. Arguments may stand in any order.
//!
//! ```
//! use windlass_worker::{JobCtx, State, Worker};
//! #[derive(serde::Deserialize)]
//! struct SendEmail { to: String }
//! #[derive(Clone)]
//! struct Mailer;
//!
//! async fn send_email(mail: SendEmail, State(mailer): State<Mailer>, job: JobCtx) -> Result<String, std::io::Error> {
//!     job.progress(50, "half way").await;
//!     Ok(format!("sent to {} at attempt {}", mail.to, job.attempt()))
//! }
//!
//! let worker = Worker::builder("127.0.0.1:7421").state(Mailer).handle("send_email", send_email).build();
//! ```

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::de::DeserializeOwned;
use tower::Service;
use windlass_core::job::Payload;

use crate::blocking::BlockingPool;
use crate::context::{JobCtx, States};
use crate::verdict::{IntoVerdict, Verdict};

/// An error of any type, as tower's layers use it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Shared state of a worker, by type; see [`crate::WorkerBuilder::state`].
#[derive(Debug, Clone, Copy)]
pub struct State<S>(pub S);

/// The payload as it came, whatever its content type.
#[derive(Debug, Clone)]
pub struct RawPayload(pub Payload);

/// Marks arguments that are the payload.
#[derive(Debug)]
pub struct ViaPayload;
/// Marks arguments that come from the job's surroundings.
#[derive(Debug)]
pub struct ViaContext;

/// An argument of a handler. Implement it for your own types to make arguments of what state and headers give:
///
/// ```
/// use windlass_worker::{FromJob, JobCtx};
/// struct Tenant(String);
/// impl FromJob for Tenant {
///     fn from_job(job: &JobCtx) -> Result<Tenant, String> {
///         job.header("tenant").map(|t| Tenant(t.to_owned())).ok_or_else(|| "there is no header `tenant`".to_owned())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    note = "arguments are the payload (any T: serde::de::DeserializeOwned), JobCtx, State<S> and RawPayload"
)]
pub trait FromJob<Via = ViaContext>: Sized {
    /// Takes the argument from the job.
    ///
    /// # Errors
    /// What is wrong, for the job's history; the attempt has failed.
    fn from_job(job: &JobCtx) -> Result<Self, String>;

    #[doc(hidden)]
    fn check(_: &Probe<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Lets arguments look at what the worker has, before it starts.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<'a>(pub(crate) &'a States);

impl<T: DeserializeOwned> FromJob<ViaPayload> for T {
    fn from_job(job: &JobCtx) -> Result<T, String> {
        let payload = job.payload();
        if !payload.is_json() {
            return Err(format!(
                "the payload is {}, the handler reads JSON; take RawPayload instead",
                payload.mime()
            ));
        }
        serde_json::from_slice(&payload.data)
            .map_err(|e| format!("the payload does not fit the handler: {e}"))
    }
}

impl FromJob for JobCtx {
    fn from_job(job: &JobCtx) -> Result<JobCtx, String> {
        Ok(job.clone())
    }
}

impl FromJob for RawPayload {
    fn from_job(job: &JobCtx) -> Result<RawPayload, String> {
        Ok(RawPayload(job.payload().clone()))
    }
}

impl<S: Clone + Send + Sync + 'static> FromJob for State<S> {
    fn from_job(job: &JobCtx) -> Result<State<S>, String> {
        job.running().states.get().map(State)
    }

    fn check(probe: &Probe<'_>) -> Result<(), String> {
        probe.0.get::<S>().map(drop)
    }
}

/// An async function that runs jobs. Implemented for functions of up to six arguments; `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler",
    note = "a handler is an async function; its arguments are the payload (T: DeserializeOwned), JobCtx, State<S> or RawPayload in any order, its futures are Send, and it returns (), Verdict or Result<T: Serialize, E: Display>"
)]
pub trait Handler<M>: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn run(self, job: JobCtx) -> impl Future<Output = Verdict> + Send;

    #[doc(hidden)]
    fn check(probe: &Probe<'_>) -> Result<(), String>;
}

/// A function that runs jobs and may block. Implemented for functions of up to six arguments; `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no blocking handler",
    note = "a blocking handler is a plain function with the arguments and return values of a handler"
)]
pub trait BlockingHandler<M>: Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn run(self, job: &JobCtx) -> Verdict;

    #[doc(hidden)]
    fn check(probe: &Probe<'_>) -> Result<(), String>;
}

macro_rules! handlers {
    ($([$($via:ident $argument:ident $value:ident),*]),* $(,)?) => {$(
        impl<F, Fut, R, VR, $($via, $argument),*> Handler<(VR, $($via, $argument),*)> for F
        where
            F: FnOnce($($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output = R> + Send,
            R: IntoVerdict<VR>,
            $($argument: FromJob<$via> + Send,)*
        {
            async fn run(self, job: JobCtx) -> Verdict {
                let _ = &job;
                $(let $value = match $argument::from_job(&job) {
                    Ok(value) => value,
                    Err(e) => return Verdict::retry(e),
                };)*
                self($($value),*).await.into_verdict()
            }

            fn check(probe: &Probe<'_>) -> Result<(), String> {
                let _ = probe;
                $($argument::check(probe)?;)*
                Ok(())
            }
        }

        impl<F, R, VR, $($via, $argument),*> BlockingHandler<(VR, $($via, $argument),*)> for F
        where
            F: FnOnce($($argument),*) -> R + Clone + Send + Sync + 'static,
            R: IntoVerdict<VR>,
            $($argument: FromJob<$via>,)*
        {
            fn run(self, job: &JobCtx) -> Verdict {
                let _ = job;
                $(let $value = match $argument::from_job(job) {
                    Ok(value) => value,
                    Err(e) => return Verdict::retry(e),
                };)*
                self($($value),*).into_verdict()
            }

            fn check(probe: &Probe<'_>) -> Result<(), String> {
                let _ = probe;
                $($argument::check(probe)?;)*
                Ok(())
            }
        }
    )*};
}

handlers!(
    [],
    [V1 A1 a1],
    [V1 A1 a1, V2 A2 a2],
    [V1 A1 a1, V2 A2 a2, V3 A3 a3],
    [V1 A1 a1, V2 A2 a2, V3 A3 a3, V4 A4 a4],
    [V1 A1 a1, V2 A2 a2, V3 A3 a3, V4 A4 a4, V5 A5 a5],
    [V1 A1 a1, V2 A2 a2, V3 A3 a3, V4 A4 a4, V5 A5 a5, V6 A6 a6],
);

/// A handler of any type. It is a tower service, so that tower's layers can stand around it; see
/// [`crate::WorkerBuilder::layer`].
#[derive(Clone)]
pub struct JobService(Arc<dyn Call>);

trait Call: Send + Sync {
    fn call(&self, job: JobCtx) -> BoxFuture<Result<Verdict, BoxError>>;
}

impl JobService {
    pub(crate) fn call_once(&self, job: JobCtx) -> BoxFuture<Result<Verdict, BoxError>> {
        self.0.call(job)
    }

    pub(crate) fn from_async<M: 'static, H: Handler<M>>(handler: H) -> JobService {
        JobService(Arc::new(Async { handler, via: PhantomData::<fn() -> M> }))
    }

    pub(crate) fn from_blocking<M: 'static, H: BlockingHandler<M>>(
        handler: H,
        pool: Arc<BlockingPool>,
    ) -> JobService {
        JobService(Arc::new(Blocking { handler, pool, via: PhantomData::<fn() -> M> }))
    }

    pub(crate) fn from_layered<S>(service: S) -> JobService
    where
        S: Service<JobCtx, Response = Verdict> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        JobService(Arc::new(Layered(service)))
    }
}

impl std::fmt::Debug for JobService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JobService")
    }
}

impl Service<JobCtx> for JobService {
    type Response = Verdict;
    type Error = BoxError;
    type Future = BoxFuture<Result<Verdict, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: JobCtx) -> Self::Future {
        self.call_once(job)
    }
}

struct Async<H, M> {
    handler: H,
    via: PhantomData<fn() -> M>,
}

impl<M: 'static, H: Handler<M>> Call for Async<H, M> {
    fn call(&self, job: JobCtx) -> BoxFuture<Result<Verdict, BoxError>> {
        let handler = self.handler.clone();
        Box::pin(async move { Ok(handler.run(job).await) })
    }
}

struct Blocking<H, M> {
    handler: H,
    pool: Arc<BlockingPool>,
    via: PhantomData<fn() -> M>,
}

impl<M: 'static, H: BlockingHandler<M>> Call for Blocking<H, M> {
    fn call(&self, job: JobCtx) -> BoxFuture<Result<Verdict, BoxError>> {
        let handler = self.handler.clone();
        let running = self.pool.run(move || handler.run(&job));
        Box::pin(async move { Ok(running.await) })
    }
}

struct Layered<S>(S);

impl<S> Call for Layered<S>
where
    S: Service<JobCtx, Response = Verdict> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn call(&self, job: JobCtx) -> BoxFuture<Result<Verdict, BoxError>> {
        let service = self.0.clone();
        Box::pin(async move { tower::ServiceExt::oneshot(service, job).await.map_err(Into::into) })
    }
}

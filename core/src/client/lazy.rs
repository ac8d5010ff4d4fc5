//! A builder that is its own future: `await`, `join!` and `try_join!` take it as it is. It must not know what is built.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use crate::client::call::ClientShared;
use crate::host::Host;

/// What a builder collected, and how its work begins.
pub(super) trait Begin: Sized + Unpin {
    type Output: 'static;

    fn shared(&self) -> &Arc<ClientShared>;

    fn begin(self) -> BoxFuture<'static, Self::Output>;
}

/// A builder until it is first polled, and its work from then on. It takes no more room than the larger of the two, and the
/// work is boxed once, as it would be by `IntoFuture`.
pub(super) enum Lazy<B: Begin> {
    Built(B),
    Begun(BoxFuture<'static, B::Output>),
    /// Only while `poll` moves what was built out, or if that panicked.
    Moved,
}

const POLLED: &str = "an option was set after the builder was first polled: set all options before";

impl<B: Begin> Lazy<B> {
    /// What is being built.
    ///
    /// # Panics
    /// Panics if it has begun: an option would have no effect.
    pub(super) fn built(&mut self) -> &mut B {
        match self {
            Self::Built(builder) => builder,
            Self::Begun(_) | Self::Moved => panic!("{POLLED}"),
        }
    }

    /// What was built.
    ///
    /// # Panics
    /// Panics if it has begun.
    pub(super) fn into_built(self) -> B {
        match self {
            Self::Built(builder) => builder,
            Self::Begun(_) | Self::Moved => panic!("{POLLED}"),
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<B::Output> {
        if let Self::Built(_) = self
            && let Self::Built(builder) = std::mem::replace(self, Self::Moved)
        {
            let asking = builder.shared().call.as_ref().map(|_| Arc::clone(&builder.shared().host));
            let work = builder.begin();
            *self = Self::Begun(match asking {
                Some(host) => Box::pin(Asked { host, work }),
                None => work,
            });
        }
        match self {
            Self::Begun(work) => Pin::new(work).poll(context),
            Self::Built(_) | Self::Moved => panic!("a builder was polled after its first poll panicked"),
        }
    }
}

/// What an attempt of an activity has asked its own client. Its host may tell such waits from others.
struct Asked<T> {
    host: Arc<dyn Host>,
    work: BoxFuture<'static, T>,
}

impl<T> Future for Asked<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let waker = self.host.asking(context.waker());
        self.work.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl<B: Begin + fmt::Debug> fmt::Debug for Lazy<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Built(builder) => builder.fmt(f),
            Self::Begun(_) | Self::Moved => f.write_str("begun"),
        }
    }
}

/// Makes a builder, a tuple struct around a [`Lazy`], a future.
macro_rules! future {
    ($builder:ident $(<$generic:ident: $bound:path>)?, $output:ty) => {
        impl $(<$generic: $bound>)? std::future::Future for $builder $(<$generic>)? {
            type Output = $output;

            fn poll(
                self: std::pin::Pin<&mut Self>,
                context: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.get_mut().0.poll(context)
            }
        }
    };
}

pub(super) use future;

use std::{ops::Deref, sync::Arc};

use crate::contained::Contained;

/// The context `D` with one more value. [`App::decorate`](crate::App::decorate) and
/// [`App::derive`](crate::App::derive) add one each.
///
/// It derefs to the newest value. [`Get::get`] finds any value by its type.
#[derive(Debug)]
pub struct With<T, D> {
    value: Arc<Contained<T>>,
    rest: D,
}

impl<T, D> With<T, D> {
    pub(super) fn new(value: Arc<Contained<T>>, rest: D) -> Self {
        Self { value, rest }
    }
}

/// Cheap, because the values are shared.
impl<T, D: Clone> Clone for With<T, D> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), rest: self.rest.clone() }
    }
}

impl<T, D> Deref for With<T, D> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A context that has a value of type `T`. `Index` is the position of the value, and is always
/// inferred.
///
/// Handlers call `get` on their [`Ws`](crate::Ws) or [`Context`](crate::Context). This trait is
/// the bound for plugins that need a value which the app must have added before:
///
/// ```
/// # use axeom_ws_core as axeom_ws;
/// use axeom_ws::{App, context::Get};
///
/// struct Db;
///
/// fn chat<D, I>(app: App<D>) -> App<D>
/// where
///     D: Get<Db, I> + Clone + Send + Sync + 'static,
///     I: 'static,
/// {
///     app.ws("/chat", |route| route.open(async |ws| { let _db: &Db = ws.get(); }))
/// }
///
/// let app = App::new().decorate(Db).plugin(chat);
/// # let _ = app;
/// ```
///
/// Code that asks for a value which was not added does not compile. Nor does code that asks for
/// one of two values with the same type: wrap one of them in a newtype.
#[diagnostic::on_unimplemented(
    message = "no `{T}` in this context: nothing before this route derives or decorates one",
    label = "`{T}` is missing here",
    note = "add `.decorate(..)` or `.derive(..)` with a value of type `{T}` before the route, in the app or the group"
)]
pub trait Get<T, Index>: Sealed {
    /// Returns the value.
    fn get(&self) -> &T;
}

/// The counterpart of [`Get`], implemented by the value instead of the context. With a bound on
/// the value, the compiler knows which type is missing when it reports the error.
#[diagnostic::on_unimplemented(
    message = "no `{Self}` in this context: nothing before this route derives or decorates one",
    label = "`{Self}` is missing here",
    note = "add `.decorate(..)` or `.derive(..)` with a value of type `{Self}` before the route, in the app or the group"
)]
pub trait FoundIn<D, Index>: sealed::Found<D, Index> {
    /// Returns the value.
    fn found_in(data: &D) -> &Self;
}

impl<T, D, Index> FoundIn<D, Index> for T
where
    D: Get<T, Index>,
{
    fn found_in(data: &D) -> &T {
        data.get()
    }
}

#[allow(unnameable_types, reason = "nobody else is to implement these")]
mod sealed {
    use super::Get;

    pub trait Sealed {}

    pub trait Found<D, Index> {}

    impl<T, D: Get<T, Index>, Index> Found<D, Index> for T {}
}

use sealed::Sealed;

impl<T, D> Sealed for With<T, D> {}

/// The position of the newest value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Here;

/// The position one layer below `Index`.
#[derive(Debug)]
pub struct There<Index>(std::marker::PhantomData<Index>);

impl<T, D> Get<T, Here> for With<T, D> {
    fn get(&self) -> &T {
        &self.value
    }
}

impl<T, U, D, Index> Get<T, There<Index>> for With<U, D>
where
    D: Get<T, Index>,
{
    fn get(&self) -> &T {
        self.rest.get()
    }
}

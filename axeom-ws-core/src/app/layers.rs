use std::{ops::Deref, sync::Arc};

/// A context with one more value: what [`App::decorate`](crate::App::decorate) and
/// [`App::derive`](crate::App::derive) turn `D` into.
///
/// It derefs to the newest value; any other is found by its type with
/// [`Get::get`].
#[derive(Debug)]
pub struct With<T, D> {
    value: Arc<T>,
    rest: D,
}

impl<T, D> With<T, D> {
    pub(super) fn new(value: Arc<T>, rest: D) -> Self {
        Self { value, rest }
    }
}

/// Cheap: the values are shared.
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

/// A context that has a value of type `T`. `Index` is where it is, and always inferred.
///
/// It is the bound to write in a plugin that needs a value which the app must have
/// added before: `fn chat<D: Get<Db, I>, I>(app: App<D>) -> App<D>`. Handlers call `get`
/// on their [`Ws`](crate::Ws) or [`Context`](crate::Context).
///
/// Asking for a value that no derive or decorator added does not compile. With two
/// values of one type the type alone does not say which is meant, and that does not
/// compile either: give one of them a type of its own.
#[diagnostic::on_unimplemented(
    message = "no `{T}` in this context: nothing before this route derives or decorates one",
    label = "`{T}` is missing here",
    note = "add `.decorate(..)` or `.derive(..)` with a value of type `{T}` before the route, in the app or the group"
)]
pub trait Get<T, Index>: Sealed {
    /// The value.
    fn get(&self) -> &T;
}

/// [`Get`] seen from the value. A bound on the value waits until the compiler knows which
/// type is asked for, so that its error can name it.
#[diagnostic::on_unimplemented(
    message = "no `{Self}` in this context: nothing before this route derives or decorates one",
    label = "`{Self}` is missing here",
    note = "add `.decorate(..)` or `.derive(..)` with a value of type `{Self}` before the route, in the app or the group"
)]
pub trait FoundIn<D, Index>: sealed::Found<D, Index> {
    /// The value.
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

    /// A context.
    pub trait Sealed {}

    /// A value in a context.
    pub trait Found<D, Index> {}

    impl<T, D: Get<T, Index>, Index> Found<D, Index> for T {}
}

use sealed::Sealed;

impl<T, D> Sealed for With<T, D> {}

/// The index of the newest value.
#[derive(Debug)]
#[non_exhaustive]
pub struct Here;

/// The index of a value one layer further down.
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

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

use std::{collections::HashMap, sync::Arc};

use percent_encoding::percent_decode_str;

use super::request::Params;
use crate::error::AppError;

/// Finds the value of a path. Static segments take precedence over `:param`, and `:param` over a
/// trailing `*`.
pub(super) struct Router<T> {
    root: Node<T>,
}

/// The routes below a common prefix, by their next segment.
struct Node<T> {
    fixed: HashMap<Box<str>, Node<T>>,
    param: Option<Box<Param<T>>>,
    /// The route whose `*` is at this position.
    tail: Option<Entry<T>>,
    /// The route that ends here.
    end: Option<Entry<T>>,
}

struct Param<T> {
    name: Arc<str>,
    /// The first route with a parameter here, for error messages.
    path: String,
    node: Node<T>,
}

struct Entry<T> {
    /// The names of the route's parameters, in the order of the path.
    names: Arc<[Arc<str>]>,
    value: T,
}

const TAIL: &str = "*";

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { fixed: HashMap::new(), param: None, tail: None, end: None }
    }
}

impl<T> Router<T> {
    /// Creates a router from paths and their values.
    pub(super) fn new(routes: impl IntoIterator<Item = (String, T)>) -> Result<Self, AppError> {
        let mut root = Node::default();
        for (path, value) in routes {
            root.insert(&path, value).map_err(|reason| AppError::Route { path, reason })?;
        }
        Ok(Self { root })
    }

    /// Finds the value of a path, and decodes the parameters.
    pub(super) fn find(&self, path: &str) -> Result<(&T, Params), NotFound> {
        let mut values = Vec::new();
        let path = path.strip_prefix('/').ok_or(NotFound::NoRoute)?;
        let found = self.root.find(Some(path), &mut values).ok_or(NotFound::NoRoute)?;
        let mut params = Vec::with_capacity(values.len());
        for (name, value) in found.names.iter().zip(values) {
            let text = percent_decode_str(value).decode_utf8().map_err(|_| NotFound::NotText)?;
            params.push((Arc::clone(name), text.into()));
        }
        Ok((&found.value, Params::new(params)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotFound {
    NoRoute,
    /// A decoded parameter is not UTF-8.
    NotText,
}

impl<T> Node<T> {
    fn insert(&mut self, path: &str, value: T) -> Result<(), String> {
        let Some(segments) = path.strip_prefix('/') else {
            return Err("a path starts with /".to_owned());
        };
        let mut node = self;
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut segments = segments.split('/').peekable();
        let mut place = None;
        while let Some(segment) = segments.next() {
            if let Some(name) = segment.strip_prefix(':') {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(word) {
                    let wanted = "write : and a name of letters, digits and _";
                    return Err(format!("{segment} is not a parameter: {wanted}"));
                }
                if names.iter().any(|known| **known == *name) {
                    return Err(format!("it has two parameters {segment}"));
                }
                let param = node.param.get_or_insert_with(|| {
                    let node = Node::default();
                    Box::new(Param { name: name.into(), path: path.to_owned(), node })
                });
                // All routes share the node of this parameter, and so must agree on its name.
                if *param.name != *name {
                    let Param { name, path, .. } = &**param;
                    return Err(format!("{segment} is called :{name} in {path}; use one name"));
                }
                names.push(Arc::clone(&param.name));
                node = &mut param.node;
            } else if segment == TAIL {
                if segments.peek().is_some() {
                    return Err("* must be the last segment".to_owned());
                }
                names.push(TAIL.into());
                place = Some(&mut node.tail);
                break;
            } else if let Some(name) = segment.strip_prefix('*') {
                let wanted = format!("the tail has no name: write * for *{name}");
                return Err(format!("{wanted}, and find it as param(\"*\")"));
            } else if let Some(name) = segment.strip_prefix('{') {
                let name = name.trim_end_matches('}');
                return Err(match name.strip_prefix('*') {
                    Some(_) => format!("write * instead of {segment}, and find it as param(\"*\")"),
                    None => format!("write :{name} instead of {segment}"),
                });
            } else {
                node = node.fixed.entry(segment.into()).or_default();
            }
        }
        let place = match place {
            Some(tail) => tail,
            None => &mut node.end,
        };
        if place.is_some() {
            return Err("another route has the same path".to_owned());
        }
        *place = Some(Entry { names: names.into(), value });
        Ok(())
    }

    /// Finds the route for `rest`, the segments that remain, which is `None` after the last one.
    /// Each node is visited at most once.
    fn find<'p>(&self, rest: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<&Entry<T>> {
        let Some(rest) = rest else { return self.end.as_ref() };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let found @ Some(_) = self.fixed.get(segment).and_then(|node| node.find(after, values)) {
            return found;
        }
        if let Some(param) = self.param.as_ref().filter(|_| !segment.is_empty()) {
            values.push(segment);
            if let found @ Some(_) = param.node.find(after, values) {
                return found;
            }
            values.pop();
        }
        self.tail.as_ref().inspect(|_| values.push(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(paths: &[&str]) -> Result<Router<String>, String> {
        Router::new(paths.iter().map(|path| ((*path).to_owned(), (*path).to_owned())))
            .map_err(|error| error.to_string())
    }

    fn find(router: &Router<String>, path: &str, param: &str) -> Option<(String, String)> {
        let (value, params) = router.find(path).ok()?;
        Some((value.clone(), params.get(param).to_owned()))
    }

    #[test]
    fn static_goes_before_param_goes_before_tail() {
        let router = router(&["/chat/:room", "/chat/lobby", "/*", "/chat/:room/admin"]).unwrap();
        let find = |path, param| find(&router, path, param).unwrap();
        assert_eq!(find("/chat/lobby", "room"), ("/chat/lobby".into(), "".into()));
        assert_eq!(find("/chat/a%20b", "room"), ("/chat/:room".into(), "a b".into()));
        assert_eq!(find("/chat/x/admin", "room"), ("/chat/:room/admin".into(), "x".into()));
        assert_eq!(find("/other/deep", "*"), ("/*".into(), "other/deep".into()));
        assert_eq!(find("/", "*"), ("/*".into(), "".into()));
        assert_eq!(router.find("no-slash").err(), Some(NotFound::NoRoute));
        assert_eq!(router.find("/chat/%ff").err(), Some(NotFound::NotText));
    }

    #[test]
    fn a_param_and_a_tail_may_have_the_same_place() {
        let router = router(&["/chat/*", "/chat/:room", "/*", "/:a/*", "/:a/:b/c"]).unwrap();
        let find = |path, param| find(&router, path, param).unwrap();
        assert_eq!(find("/chat/x", "room"), ("/chat/:room".into(), "x".into()));
        assert_eq!(find("/chat/x/y", "*"), ("/chat/*".into(), "x/y".into()));
        assert_eq!(find("/chat/x/c", "*"), ("/chat/*".into(), "x/c".into()));
        assert_eq!(find("/chat", "*"), ("/*".into(), "chat".into()));
        assert_eq!(find("/x/y/c", "b"), ("/:a/:b/c".into(), "y".into()));
        assert_eq!(find("/x/y/d", "*"), ("/:a/*".into(), "y/d".into()));
        assert_eq!(find("//x", "*"), ("/*".into(), "/x".into()));
    }

    #[test]
    fn an_explicit_route_wins_over_an_empty_tail() {
        let router = router(&["/files/*", "/files/"]).unwrap();
        assert_eq!(find(&router, "/files/", "*"), Some(("/files/".into(), "".into())));
        assert_eq!(find(&router, "/files/a/b", "*"), Some(("/files/*".into(), "a/b".into())));
        assert_eq!(find(&router, "/files", ""), None);
    }

    #[test]
    fn conflicts_and_bad_paths_are_errors() {
        for (paths, part) in [
            (&["/a", "/a"][..], "same path"),
            (&["/:a", "/:b"], ":b is called :a in /:a"),
            (&["/:a/x", "/:b/y"], ":b is called :a"),
            (&["/:a/:a"], "two parameters"),
            (&["/*/x"], "last segment"),
            (&["/:"], "not a parameter"),
            (&["/:a-b"], "not a parameter"),
            (&["/chat/{room}"], "write :room instead of {room}"),
            (&["/files/{*path}"], "write * instead of {*path}"),
            (&["/files/*path"], "write * for *path"),
            (&["chat"], "starts with /"),
        ] {
            let error = router(paths).err().unwrap();
            assert!(error.contains(part), "{paths:?}: {error}");
        }
    }
}

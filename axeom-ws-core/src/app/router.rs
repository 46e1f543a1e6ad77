use std::{collections::HashMap, sync::Arc};

use percent_encoding::percent_decode_str;

use super::request::Params;
use crate::AppError;

/// Finds the value of a path: static segments before `:param`, before a trailing `*`.
pub(crate) struct Router<T> {
    routes: matchit::Router<Entry<T>>,
}

struct Entry<T> {
    /// The parameters of the route in order, as users name them.
    names: Arc<[Arc<str>]>,
    value: T,
}

/// The name of the tail that a `*` matches.
const TAIL: &str = "*";

impl<T: Clone> Router<T> {
    /// A router of these routes, each a path and its value.
    pub(crate) fn new(routes: impl IntoIterator<Item = (String, T)>) -> Result<Self, AppError> {
        let mut router = matchit::Router::new();
        let mut names_at = HashMap::new();
        let mut roots = Vec::new();
        for (path, value) in routes {
            let failed = |reason: String| AppError::Route { path: path.clone(), reason };
            let pattern = Pattern::parse(&path).map_err(failed)?;
            pattern.check_names(&path, &mut names_at).map_err(failed)?;
            let entry = |value| Entry { names: pattern.names.clone(), value };
            if let Some(root) = pattern.root {
                roots.push((root, entry(value.clone())));
            }
            router
                .insert(pattern.matched, entry(value))
                .map_err(|_| failed("another route has the same path".to_owned()))?;
        }
        // A tail may be empty, but a route of its own goes first.
        for (root, entry) in roots {
            let _ = router.insert(root, entry);
        }
        Ok(Self { routes: router })
    }

    /// The value of a path, with its decoded parameters.
    pub(crate) fn find(&self, path: &str) -> Option<(&T, Params)> {
        let found = self.routes.at(path).ok()?;
        let mut values = found.params.iter().map(|(_, value)| value);
        let params = found.value.names.iter().map(|name| {
            let value = values.next().unwrap_or_default();
            (Arc::clone(name), percent_decode_str(value).decode_utf8_lossy().into())
        });
        Some((&found.value.value, Params::new(params.collect())))
    }
}

struct Pattern {
    /// The path as `matchit` spells it.
    matched: String,
    /// What a trailing `*` matches when it matches nothing.
    root: Option<String>,
    names: Arc<[Arc<str>]>,
}

impl Pattern {
    fn parse(path: &str) -> Result<Self, String> {
        let Some(segments) = path.strip_prefix('/') else {
            return Err("a path starts with /".to_owned());
        };
        let mut pattern = String::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut root = None;
        let mut segments = segments.split('/').peekable();
        while let Some(segment) = segments.next() {
            pattern.push('/');
            if let Some(name) = segment.strip_prefix(':') {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(word) {
                    return Err(format!("{segment} is not a parameter: write : and a name"));
                }
                if names.iter().any(|known| **known == *name) {
                    return Err(format!("it has two parameters {segment}"));
                }
                pattern.push_str(&format!("{{{name}}}"));
                names.push(name.into());
            } else if segment == TAIL {
                if segments.peek().is_some() {
                    return Err("* must be the last segment".to_owned());
                }
                root = Some(pattern.clone());
                pattern.push_str("{*tail}");
                names.push(TAIL.into());
            } else {
                pattern.push_str(&segment.replace('{', "{{").replace('}', "}}"));
            }
        }
        Ok(Self { matched: pattern, root, names: names.into() })
    }

    /// One position has one name for its parameter, in all routes.
    fn check_names(
        &self,
        path: &str,
        names_at: &mut HashMap<String, (Arc<str>, String)>,
    ) -> Result<(), String> {
        let mut before = String::new();
        for (segment, spelled) in self.matched.split('/').zip(path.split('/')) {
            before.push('/');
            if spelled.starts_with(':') {
                let (known, other) = names_at
                    .entry(before.clone())
                    .or_insert_with(|| (spelled.into(), path.to_owned()));
                if **known != *spelled {
                    return Err(format!("{spelled} is called {known} in {other}; use one name"));
                }
                before.push(':');
            } else {
                before.push_str(segment);
            }
        }
        Ok(())
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
        let (value, params) = router.find(path)?;
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
        assert!(router.find("no-slash").is_none());
    }

    #[test]
    fn an_explicit_route_wins_over_an_empty_tail() {
        let router = router(&["/files/*", "/files/", "/{brace}"]).unwrap();
        assert_eq!(find(&router, "/files/", "*"), Some(("/files/".into(), "".into())));
        assert_eq!(find(&router, "/files/a/b", "*"), Some(("/files/*".into(), "a/b".into())));
        assert_eq!(find(&router, "/files", ""), None);
        assert_eq!(find(&router, "/{brace}", ""), Some(("/{brace}".into(), "".into())));
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
            (&["chat"], "starts with /"),
        ] {
            let error = router(paths).err().unwrap();
            assert!(error.contains(part), "{paths:?}: {error}");
        }
    }
}

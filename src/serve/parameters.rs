//! Query parameters: named, each known and each given as often as it may be.

use std::{collections::BTreeMap, fmt, str::FromStr};

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};

use super::problem::Problem;

/// What follows the question mark. Taking a parameter takes it out, so that what is left at the end is unknown.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, Vec<String>>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::bad_request("the query is not of the form name=value&…"))?;
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            // No text in Postgres holds it.
            if value.contains('\0') {
                return Err(invalid(&name, "U+0000 is in no stored text"));
            }
            parameters.entry(name).or_default().push(value);
        }
        Ok(Self(parameters))
    }
}

impl Parameters {
    /// All values of a parameter that may be given several times.
    pub(super) fn all<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Problem> {
        let values = self.0.remove(name).unwrap_or_default();
        values.iter().map(|value| parse(value).map_err(|why| invalid(name, why))).collect()
    }

    /// A parameter that may be given once.
    pub(super) fn one<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let mut values = self.all(name, parse)?;
        if values.len() > 1 {
            return Err(invalid(name, "given more than once"));
        }
        Ok(values.pop())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        self.one(name, |text| Ok::<_, fmt::Error>(text.to_owned()))
    }

    pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        self.one(name, T::from_str)
    }

    /// Whether all were taken.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid(&name, "no such parameter; /api/v1/openapi.json lists them")),
        }
    }
}

pub(super) fn invalid(name: &str, why: impl fmt::Display) -> Problem {
    Problem::bad_request(format!("parameter {name:?}: {why}"))
}

/// One of a closed list of names.
pub(super) fn one_of<T: Copy>(all: &'static [T], name: fn(T) -> &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let names = || all.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", ");
        all.iter().copied().find(|value| name(*value) == text).ok_or_else(|| format!("allowed: {}", names()))
    }
}

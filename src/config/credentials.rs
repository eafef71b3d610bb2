//! A user and a password.

use super::{Config, Secret};
use crate::error::{Error, Result};

/// What a connection authenticates with. Without a password it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// None is the default user, also on servers that have no users.
    pub user: Option<String>,
    pub password: Option<Secret>,
}

impl Credentials {
    /// Checks the texts as the options `user` and `password` do. Empty texts are not set.
    pub fn new(user: &str, password: &str) -> Result<Credentials> {
        let mut config = Config::new();
        config.set("user", user)?;
        config.set("password", password)?;
        let credentials = config.credentials();
        match credentials.is_user_alone() {
            true => Err(Error::invalid(USER_ALONE)),
            false => Ok(credentials),
        }
    }

    /// A message of a server without the password, which servers may repeat.
    pub fn remove_from(&self, message: &str) -> String {
        match &self.password {
            Some(password) => password.remove_from(message),
            None => message.to_owned(),
        }
    }

    fn is_user_alone(&self) -> bool {
        self.user.is_some() && self.password.is_none()
    }
}

pub(super) const USER_ALONE: &str =
    "user is set without a password; a user with nopass accepts any password";

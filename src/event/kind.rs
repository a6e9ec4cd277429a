//! The closed lists of the wire: event kinds, hook sources, end reasons. All are case-sensitive.

/// A closed list of names, as they stand on the wire and in the database.
macro_rules! wire_names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name { $(#[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The name on the wire and in the database.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The inverse of [`Self::as_str`]; nothing but the exact name is accepted.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

wire_names! {
    /// The four kinds, in the order in which events of one instant sort.
    EventKind {
        Started = "hook.session.started",
        Prompt = "hook.prompt.submitted",
        Tool = "hook.tool.executed",
        Ended = "hook.session.ended",
    }
}

wire_names! {
    /// What started a session.
    HookSource { Startup = "startup", Resume = "resume", Clear = "clear", Compact = "compact" }
}

wire_names! {
    /// Why a session ended, as its `ended` event says.
    EndReason { Clear = "clear", Logout = "logout", PromptInputExit = "prompt_input_exit", Other = "other" }
}

pub(crate) use wire_names;

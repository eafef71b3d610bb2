//! RESP2 and RESP3, bytes to values and back. No I/O.

mod builder;
mod decode;
mod encode;
mod origin;
mod reply;
mod split;
mod value;
mod view;

pub use builder::Builder;
pub use decode::{Decoder, Limits};
pub use encode::{Body, Opening, command, named};
pub use origin::{OK_TEXT, Origin};
pub use reply::{Reply, SMALL};
pub use split::split;
pub use value::{Answer, Kind, Value, WITHIN, chunk_tag, flag};
pub use view::View;

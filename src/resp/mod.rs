//! RESP2 and RESP3: encoding commands and decoding replies. No I/O.

mod builder;
mod command_buffer;
mod command_reply;
mod decode;
mod double;
mod encode;
mod message;
mod message_slab;
mod origin;
mod parse_command;
mod reply;
mod reply_slab;
mod value;
mod value_list;
mod view;

pub use builder::Builder;
pub use command_buffer::CommandBuffer;
pub use command_reply::CommandReply;
pub use decode::{Decoder, Limits, ShortText};
pub use double::parse_double;
pub use encode::{CommandBody, EncodedPrefix, encode_command, encode_with_prefix};
pub use message::MessageType;
pub use message_slab::{MessageSlab, SlabMessage};
pub use origin::{OK_TEXT, Origin};
pub use parse_command::{CommandArgs, parse_command};
pub use reply::{INLINE_TEXT, Reply};
pub use reply_slab::{ReplySlab, SLAB_LEN, SMALL_TEXT, SmallReply};
pub use value::{Kind, NodeValue, SINGLE_SLAB, Value, chunk_tag, flag};
pub use value_list::{BLOCK_LEN, Block, Element, ValueList};
pub use view::View;

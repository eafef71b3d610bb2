//! Decides how a submitted command is executed. No I/O.

use super::entry::{BatchedCommand, OtherWork, Work};
use crate::cluster::client::{Client, empty_command};
use crate::cluster::context::permit;
use crate::cluster::module_commands;
use crate::cluster::pipeline::Pipeline;
use crate::cluster::state::Core;
use crate::error::Result;
use crate::route::{Classified, Flag, Route, RouteOptions};
use crate::topology::KeySpace;

/// How a command is executed, or why it is not.
pub(super) fn work_of(
    client: &Client,
    core: &Core,
    command: &Classified<'_>,
    key_space: KeySpace,
) -> Result<Work> {
    if command.args.is_empty() {
        return Err(empty_command());
    }
    if client.config.readonly {
        permit(core, &client.config, command)?;
    }
    if let Some(slot) = client.pinned_slot() {
        return Ok(OtherWork::Alone([slot].into()).into());
    }
    let options = RouteOptions {
        key_space,
        split_writes: client.config.split_writes,
    };
    let route = match command.route(options)? {
        Some(route) => route,
        None => module_commands::guess(command.args, key_space),
    };
    let Some(row) = command.row else {
        return Ok(OtherWork::Alone(slots_of(&route)).into());
    };
    // A blocking command would hold up its slot, for as long as it blocks.
    if command.blocking_timeout.is_some() {
        return Ok(OtherWork::Blocking.into());
    }
    let (slot, is_for_primary) = match route {
        Route::Slot(slot) => (slot, false),
        Route::Primary(slot) => (slot, true),
        route => return Ok(OtherWork::Alone(slots_of(&route)).into()),
    };
    if row.flags.has(Flag::Secret) {
        return Ok(OtherWork::Alone([slot].into()).into());
    }
    core.process().note_script(command);
    if command.publishes() {
        core.note_publication(core.process(), &client.config);
    }
    Ok(Work::InBatch(BatchedCommand {
        slot,
        is_for_primary,
        row,
        access: command.access,
    }))
}

/// The slots in whose order a command with this route has a place.
fn slots_of(route: &Route) -> Box<[u16]> {
    match route {
        Route::Slot(slot) | Route::Primary(slot) | Route::AnyNodeOf(slot) => [*slot].into(),
        Route::Split(groups, _) => groups.iter().map(|(slot, _)| slot).collect(),
        _ => [].into(),
    }
}

/// The same of a pipeline.
pub(super) fn slots_of_pipeline(pipeline: &Pipeline) -> Box<[u16]> {
    if let Some(slot) = pipeline.client.pinned_slot() {
        return [slot].into();
    }
    let mut slots: Vec<u16> = pipeline.slots().collect();
    slots.sort_unstable();
    slots.dedup();
    slots.into()
}

//! Executes a command of any kind according to its route.

use super::context::ExecContext;
use super::fan_out::{fan_out, targets};
use super::node_selector::{SelectedNodes, not_selected, select_nodes};
use super::split::split;
use super::{module_commands, scan};
use crate::cluster::execute::{RoutedCommand, Target};
use crate::error::Result;
use crate::resp::{CommandBody, Reply};
use crate::route::{Access, Classified, Merge, Route};

/// Executes a command at the nodes of its route.
pub fn dispatch(
    context: &ExecContext<'_>,
    command: &Classified<'_>,
    body: CommandBody<'_>,
) -> Result<Box<Reply>> {
    let (route, access) = match command.route(context.route_options())? {
        Some(route) => {
            context.process.note_script(command);
            (route, command.access)
        }
        None => {
            let (route, access) = module_commands::route(context, command.args)?;
            context.permit_described(command, access)?;
            (route, access)
        }
    };
    let read = access == Access::Read;
    let routed = |target| RoutedCommand::new(body, command.name(), target, read);
    let reply = match route {
        Route::Slot(slot) => context.run_one(routed(Target::Slot(slot))),
        Route::Primary(slot) => context.run_one(routed(Target::Primary(slot))),
        Route::AnyNodeOf(slot) => context.run_one(routed(Target::Near(slot))),
        Route::AnyNode => context.run_one(routed(Target::Anywhere)),
        Route::Selected => return Err(not_selected(command)),
        Route::Writes => return Err(command.shared_connection()),
        Route::Scan => {
            // A cursor is valid only at the node that returned it, so replicas are not read.
            scan::scan(&context.reading_from_primaries(), command.args)?
        }
        Route::FanOut(nodes, merge) => {
            let targets = targets(&context.topology_of_all(), nodes, merge)?;
            fan_out(context, targets.into_iter().map(routed).collect(), merge)?
        }
        Route::Split(groups, merge) => split(context, command, &groups, merge),
    };
    if command.publishes() {
        context
            .core
            .note_publication(context.process, context.config);
        if reply.view().int() == Some(0) {
            context.core.note_unheard_publication(context.process);
        }
    }
    Ok(reply)
}

/// Executes a command at the nodes that the caller selected.
pub fn dispatch_to(
    context: &ExecContext<'_>,
    command: &Classified<'_>,
    selector: &str,
) -> Result<Box<Reply>> {
    if command.waits_for_writes() {
        return Err(command.shared_connection());
    }
    let body = command.marked(CommandBody::Args(command.args));
    let read = module_commands::permit(context, command)? == Access::Read;
    let routed = |target| RoutedCommand::new(body, command.name(), target, read);
    let topology = match selector {
        "all" | "primaries" | "replicas" => context.topology_of_all(),
        _ => context.process.load_whole_topology(),
    };
    match select_nodes(selector, &topology)? {
        SelectedNodes::One(target) => Ok(context.run_one(routed(target))),
        SelectedNodes::Several(peers) => {
            let targets = peers.into_iter().map(Target::Peer);
            fan_out(context, targets.map(routed).collect(), Merge::ByNode)
        }
    }
}

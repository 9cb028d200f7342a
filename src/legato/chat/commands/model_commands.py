"""`/model`: which models can answer here, and which one does."""

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import DEFAULT, ChatCommand, CommandCall
from legato.chat.commands.markdown import code, escaped
from legato.chat.conversation_settings import eligible, pick
from legato.errors import InvalidError, LegatoError
from legato.protocol.command_data import ModelChoice, ModelData


async def model(call: CommandCall) -> CommandResult:
    """List the models, or choose one for this conversation."""
    if not call.arguments:
        return await _list(call)
    if call.arguments.lower() in DEFAULT:
        chosen = None
    else:
        # Whether the user may choose is known before the engine is asked for its models.
        await call.check("own")
        models = await eligible(call.service.assistants.of((await call.tree()).conversation))
        if not models:
            raise InvalidError("The model of this assistant cannot be chosen.")
        chosen = pick(models, call.arguments)
    changed = await call.service.conversations.set_setting(call.user, call.conversation, "model", chosen)
    name = call.service.assistants.of(changed).model
    return call.answer(f"{code(name)} answers from the next message on.", ModelData(name))


async def _list(call: CommandCall) -> CommandResult:
    assistants = call.service.assistants
    if call.request.conversation is not None:
        assistant = assistants.of((await call.tree()).conversation)
    else:
        assistant = assistants.named(call.request.assistant)
    lines = [f"{code(assistant.model) or 'A model of its agents'} answers here."]
    try:
        models = await eligible(assistant)
    except LegatoError as error:
        lines += ["", f"The others are not known now: {assistant.told(error.message)}"]
        return call.answer("\n".join(lines), ModelData(assistant.model))
    others = [each for each in models if each.name != assistant.model]
    if not others:
        lines += ["", "There is no other to choose."]
    else:
        lines += ["", f"To choose another for this conversation, {code('/model NAME')}:", ""]
        lines += [
            f"- {code(each.name)}{': ' + escaped(each.detail) if each.detail else ''}" for each in others
        ]
    choices = tuple(ModelChoice(each.name, each.detail) for each in others)
    return call.answer("\n".join(lines), ModelData(assistant.model, choices))


COMMANDS = [
    ChatCommand(
        name="model",
        usage="[name]",
        help=f"Say which models there are, or choose one for this conversation. {code('/model default')} takes it back.",
        run=model,
        needs="nothing",
    ),
]

from legato.domain.message import AudioPart, ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Capabilities, Turn
from legato.engines.message_format import (
    NOT_HEARD,
    NOT_SHOWN,
    FlatMessage,
    base64_of,
    drop_unsupported_media,
    error_text,
    flatten_turns,
    has_media,
    object_of,
)

CALL = ToolCallPart("c1", "weather", '{"city":"Paris"}')
OTHER = ToolCallPart("c2", "weather", '{"city":"Rome"}')
RESULT = ToolResultPart("c1", "weather", "sunny")


def test_a_reply_with_a_tool_in_it_is_reported_as_the_messages_it_was() -> None:
    turn = Turn("assistant", (TextPart("Let me "), TextPart("look."), CALL, RESULT, TextPart("It is sunny.")))
    assert list(flatten_turns([turn])) == [
        FlatMessage("assistant", "Let me look.", calls=(CALL,)),
        RESULT,
        FlatMessage("assistant", "It is sunny."),
    ]


def test_calls_asked_for_together_stay_together() -> None:
    second = ToolResultPart("c2", "weather", "rain")
    assert list(flatten_turns([Turn("assistant", (CALL, OTHER, RESULT, second))])) == [
        FlatMessage("assistant", "", calls=(CALL, OTHER)),
        RESULT,
        second,
    ]


def test_results_in_turns_of_their_own_answer_the_calls_before_them() -> None:
    assert list(flatten_turns([Turn("assistant", (CALL,)), Turn("tool", (RESULT,))])) == [
        FlatMessage("assistant", "", calls=(CALL,)),
        RESULT,
    ]


def test_a_call_that_nothing_answered_is_left_out() -> None:
    assert list(
        flatten_turns(
            [Turn("assistant", (TextPart("Let me look."), CALL)), Turn("user", (TextPart("well?"),))]
        )
    ) == [
        FlatMessage("assistant", "Let me look."),
        FlatMessage("user", "well?"),
    ]


def test_images_go_with_the_words_around_them() -> None:
    image = ImagePart("data:image/png;base64,iVBO")
    assert list(flatten_turns([Turn("user", (image, TextPart("what is it?")))])) == [
        FlatMessage("user", "what is it?", images=("data:image/png;base64,iVBO",))
    ]
    assert base64_of(image.data) == "iVBO"


def test_an_empty_message_is_still_one() -> None:
    assert list(flatten_turns([Turn("user", ())])) == [FlatMessage("user", "")]


def test_arguments_that_are_no_object_become_one() -> None:
    assert object_of('{"a":1}') == {"a": 1}
    assert object_of("") == {}
    assert object_of("[1]") == {"arguments": [1]}
    assert object_of('{"a":') == {"arguments": '{"a":'}


def test_an_error_is_reported_whatever_its_shape() -> None:
    assert error_text("no room.") == "no room"
    assert error_text({"message": "no room"}) == "no room"
    assert error_text({"error": "no room"}) == "no room"
    assert error_text({"why": 1}) == '{"why":1}'
    assert error_text(7) == "7"


PICTURE = ImagePart("data:image/png;base64,iVBO")
SOUND = AudioPart("data:audio/wav;base64,UklG")


def test_a_recording_stands_beside_the_text() -> None:
    assert list(flatten_turns([Turn("user", (TextPart("hear"), SOUND))])) == [
        FlatMessage("user", "hear", recordings=(SOUND.data,))
    ]


def test_a_model_is_informed_of_media_that_it_does_not_get() -> None:
    assert list(flatten_turns([Turn("user", (TextPart("look"), ImagePart(), AudioPart()))])) == [
        FlatMessage("user", f"look\n\n{NOT_SHOWN}\n\n{NOT_HEARD}")
    ]
    assert list(flatten_turns([Turn("user", (ImagePart(),))])) == [FlatMessage("user", NOT_SHOWN)]


def test_turns_are_fitted_to_what_a_model_can_do() -> None:
    turns = (Turn("user", (TextPart("look"), PICTURE, SOUND)), Turn("assistant", (TextPart("yes"),)))
    assert drop_unsupported_media(turns, Capabilities(images=True, audio=True)) == turns
    assert drop_unsupported_media(turns, Capabilities(images=True))[0].parts == (
        TextPart("look"),
        PICTURE,
        AudioPart(),
    )
    blind = drop_unsupported_media(turns, Capabilities())
    assert blind[0].parts == (TextPart("look"), ImagePart(), AudioPart())
    webp = Turn("user", (PICTURE, ImagePart("data:image/webp;base64,UklG")))
    only_png = Capabilities(images=True, audio=True, image_types=("image/png",))
    assert drop_unsupported_media((webp,), only_png)[0].parts == (PICTURE, ImagePart())
    assert has_media(turns)
    assert not has_media(blind)

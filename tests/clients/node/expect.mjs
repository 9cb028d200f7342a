// What all cases share: the server under test, and checks that say what they found.
import assert from "node:assert/strict";

export const server = process.env.LEGATO_ADDRESS;
export const MODEL = "default";
export const WEATHER = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
};

export const user = (content) => [{ role: "user", content }];

// Return the error that `call` fails with.
export async function failure(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  assert.fail("it should have failed");
}

// Return when `found` is true, which the cases wait for and never sleep for.
export async function until(found) {
  while (!found()) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export { assert };

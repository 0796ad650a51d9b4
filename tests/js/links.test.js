/** Web addresses in texts. */

import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = { createElement: () => ({}) };
const { withLinks } = await import("../../chat/static/chat/links.js");

const linksOf = (text) => [...withLinks(text)].filter((piece) => piece.href).map(({ textContent }) => textContent);
const WHOLE = [
	"https://example.org/Set_(mathematics)",
	"https://example.org/a_(b_(c))",
	"https://en.wikipedia.org/wiki/Newton's_laws",
	"Https://Example.org/",
	"HTTP://EXAMPLE.ORG",
	"www.example.org/a?b=[1]&c=(2)#d",
	"http://[::1]:8000/a",
	"https://ar.wikipedia.org/wiki/قوانين_نيوتن",
	"https://example.org/~me/a;b=1,2",
];
const IN_A_SENTENCE = [
	["(https://example.org/Set_(mathematics).)", "https://example.org/Set_(mathematics)"],
	["'https://example.org/x'", "https://example.org/x"],
	["«https://example.org/x»", "https://example.org/x"],
	["[this](https://example.org/x)and that", "https://example.org/x"],
	["انظر (https://example.org/مسار)وغيره", "https://example.org/مسار"],
	["أرأيت https://example.org/مسار؟", "https://example.org/مسار"],
	["وhttps://example.org", "https://example.org"],
	["see www.example.org...", "www.example.org"],
	["https://example.org/?", "https://example.org/"],
];
const INVISIBLE = ["\u061c", "\u200b", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069", "\ufeff", "\0"];
const NONE = ["https://", "http://[", "www.", "www.a", "me@www.example.org", "javascript:alert(1)", "xhttps://a.org"];

test("an address is linked whole", () => {
	for (const address of WHOLE) assert.deepEqual(linksOf(address), [address]);
});

test("an address ends where the sentence around it goes on", () => {
	for (const [text, address] of IN_A_SENTENCE) assert.deepEqual(linksOf(text), [address], text);
});

test("an address ends at an invisible character", () => {
	for (const letter of INVISIBLE) assert.deepEqual(linksOf(`https://a.org/x${letter}gpj.exe`), ["https://a.org/x"]);
});

test("what is no address is no link", () => {
	for (const text of NONE) assert.deepEqual(linksOf(text), [], text);
});

test("the pieces are the text", () => {
	for (const text of [...WHOLE, ...IN_A_SENTENCE.map(([all]) => all), ...NONE]) {
		const said = [...withLinks(`a ${text} b ${text}`)].map((piece) => piece.textContent ?? piece).join("");
		assert.equal(said, `a ${text} b ${text}`);
	}
});

test("a link reads from left to right, and an address without a scheme leads to https", () => {
	const [, link] = withLinks("www.example.org");
	assert.deepEqual([link.href, link.dir, link.rel], ["https://www.example.org", "ltr", "noopener nofollow ugc"]);
});

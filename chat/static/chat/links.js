/** Finds the web addresses in a text, as RFC 3986 and RFC 3987 write them. */

// Everything that an address cannot contain ends it: white space, quotes, brackets of angle, control characters, and
// the invisible ones that change the direction of text, which could disguise an address.
const ADDRESS =
	/(?:https?:\/\/|www\.(?=[^\s.]+\.))[^\s\p{Cc}\p{Cs}<>"`{}|\\^\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]+/giu;
const INSIDE_WORD = /[\w@/]$/; // before it: part of another address
const CLOSING = /[.,:;!?'*~([»”’،؛؟…]+$/; // at the end of an address, part of the sentence around it
const PAIRS = { ")": "(", "]": "[" };

/** The address without what follows it: from a closing bracket that was not opened in it. */
function balanced(text) {
	const open = [];
	for (const [index, letter] of [...text].entries()) {
		if (letter === "(" || letter === "[") open.push(letter);
		if (letter in PAIRS && open.pop() !== PAIRS[letter]) return [...text].slice(0, index).join("");
	}
	return text;
}

function linkTo(address) {
	const link = document.createElement("a");
	const href = /^www\./i.test(address) ? `https://${address}` : address;
	try {
		new URL(href);
	} catch {
		return null;
	}
	// The direction of its own also isolates it from the text around.
	Object.assign(link, { href, dir: "ltr", target: "_blank", rel: "noopener nofollow ugc", textContent: address });
	return link;
}

/** The text in pieces; web addresses become links. */
export function* withLinks(text) {
	let end = 0;
	for (const { 0: found, index } of text.matchAll(ADDRESS)) {
		if (INSIDE_WORD.test(text.slice(end, index))) continue;
		const address = balanced(found).replace(CLOSING, "");
		const link = linkTo(address);
		if (!link) continue;
		yield text.slice(end, index);
		yield link;
		end = index + address.length;
	}
	yield text.slice(end);
}

/** The page's texts, numbers and times, in the user's language; how long ago something was is by the server's clock. */

import { serverNow } from "./client.js";

const { language, catalogue } = JSON.parse(document.getElementById("texts").textContent);

// The browser's variant of the language chooses the digits. The calendar is Gregorian everywhere, as for exams.
const spoken = navigator.languages.find((name) => name.split("-")[0] === language) ?? language;
const locale = new Intl.Locale(spoken, { calendar: "gregory" });
const plural = new Intl.PluralRules(locale);
const numbers = new Intl.NumberFormat(locale);
const times = new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit" });
const weekdays = new Intl.DateTimeFormat(locale, { weekday: "long" });
const dates = new Intl.DateTimeFormat(locale, { dateStyle: "short" });
const days = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" });
const daysOfYears = new Intl.DateTimeFormat(locale, { dateStyle: "full" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

// gettext numbers a language's plural forms in the order of these names.
const names = ["zero", "one", "two", "few", "many", "other"];
const forms = names.filter((name) => plural.resolvedOptions().pluralCategories.includes(name));

const DAY = 86_400_000;

/** A text in the user's language. `{name}` becomes that value, isolated in case its text direction differs. */
export function gettext(text, values = {}) {
	return filled(catalogue[text] ?? text, values);
}

/** The same with a plural. `{count}` becomes the number, in the user's digits. */
export function ngettext(one, many, count, values = {}) {
	const form = forms.indexOf(plural.select(count));
	return filled((catalogue[one] ?? [one, many])[form] ?? many, { count: number(count), ...values });
}

function filled(text, values) {
	return text.replace(/\{(\w+)\}/g, (_, name) => `\u2068${values[name]}\u2069`);
}

/**
 * A text as it is searched: letters that are often written in another way, in Arabic above all, become the same; marks,
 * the letter that only lengthens a word, and invisible characters are left out.
 */
export function folded(text) {
	return text
		.normalize("NFKD") // takes the marks off their letters
		.replace(/[\p{M}\p{Cf}\u0640]/gu, "")
		.replace(/[ٱىیةک]/g, (letter) => FOLDED[letter])
		.replace(/[٠-٩۰-۹]/g, (digit) => digit.charCodeAt(0) & 15)
		.replace(/\s+/g, " ")
		.toLowerCase();
}

const FOLDED = { ٱ: "ا", ى: "ي", ی: "ي", ة: "ه", ک: "ك" };

export const number = (value) => numbers.format(value);

/** 14:05 */
export const timeOf = (date) => times.format(date);

/** How many midnights ago, in local time. */
function daysAgo(date) {
	const midnight = (at) => new Date(at.getFullYear(), at.getMonth(), at.getDate());
	return Math.round((midnight(new Date(serverNow())) - midnight(date)) / DAY);
}

function capitalized(text) {
	return text.charAt(0).toLocaleUpperCase(language) + text.slice(1);
}

/** Today, Yesterday or Thursday, 3 May; with the year if it is another one. */
export function dayOf(date) {
	const ago = daysAgo(date);
	if (ago === 0 || ago === 1) return capitalized(relative.format(-ago, "day"));
	return (date.getFullYear() === new Date(serverNow()).getFullYear() ? days : daysOfYears).format(date);
}

/** A short date: 14:05, Yesterday, Thursday or 03/05/26. */
export function momentOf(date) {
	const ago = daysAgo(date);
	if (ago < 1) return timeOf(date);
	if (ago === 1) return dayOf(date);
	return (ago < 7 ? weekdays : dates).format(date);
}

const UNITS = Object.entries({ year: 365 * DAY, month: 30 * DAY, day: DAY, hour: DAY / 24, minute: DAY / 1440 });

/** 5 minutes, 3 hours, 2 days, 4 months or 1 year since a time: in the largest unit that fits, at least one minute. */
export function durationSince(time, unitDisplay = "long") {
	const milliseconds = serverNow() - time;
	const [unit, length] = UNITS.find(([, length]) => length <= milliseconds) ?? UNITS.at(-1);
	const value = Math.max(1, milliseconds / length);
	return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay }).format(Math.floor(value));
}

/** Reload the page in another language, and remember it for a year. */
export function switchLanguage(name) {
	const secure = location.protocol === "https:" ? "; secure" : "";
	document.cookie = `django_language=${name}; path=/; max-age=31536000; samesite=lax${secure}`;
	location.reload();
}

/** What the page says: its texts in the reader's language, its numbers and times as the reader writes them. */

const { language, catalogue } = JSON.parse(document.getElementById("texts").textContent);

// The reader's own kind of the language decides about digits; exams are dated by one calendar everywhere.
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

// The order in which gettext counts plural forms is that of these names, as far as a language has them.
const names = ["zero", "one", "two", "few", "many", "other"];
const forms = names.filter((name) => plural.resolvedOptions().pluralCategories.includes(name));

const DAY = 86_400_000;

/** A text in the reader's language; `{name}` becomes that value, kept apart where its direction is another. */
export function gettext(text, values = {}) {
	return filled(catalogue[text] ?? text, values);
}

/** The same for a number of things: `{count}` is the number as the reader writes it. */
export function ngettext(one, many, count, values = {}) {
	const form = forms.indexOf(plural.select(count));
	return filled((catalogue[one] ?? [one, many])[form] ?? many, { count: number(count), ...values });
}

function filled(text, values) {
	return text.replace(/\{(\w+)\}/g, (_, name) => `\u2068${values[name]}\u2069`);
}

export const number = (value) => numbers.format(value);

/** 14:05 */
export const timeOf = (date) => times.format(date);

/** How many days ago, by the calendar on the wall. */
function daysAgo(date) {
	const midnight = (at) => new Date(at.getFullYear(), at.getMonth(), at.getDate());
	return Math.round((midnight(new Date()) - midnight(date)) / DAY);
}

function capitalized(text) {
	return text.charAt(0).toLocaleUpperCase(language) + text.slice(1);
}

/** Today, Yesterday, Thursday, 3 May, or with the year where it is another one. */
export function dayOf(date) {
	const ago = daysAgo(date);
	if (ago === 0 || ago === 1) return capitalized(relative.format(-ago, "day"));
	return (date.getFullYear() === new Date().getFullYear() ? days : daysOfYears).format(date);
}

/** When, in as few words as tell: 14:05, Yesterday, Thursday, 03/05/26. */
export function momentOf(date) {
	const ago = daysAgo(date);
	if (ago < 1) return timeOf(date);
	if (ago === 1) return dayOf(date);
	return (ago < 7 ? weekdays : dates).format(date);
}

/** 5 minutes, 3 hours, 2 days: the greatest unit that fits, at least a minute. */
export function durationOf(milliseconds) {
	const minutes = Math.max(1, Math.floor(milliseconds / 60_000));
	const [unit, value] =
		minutes < 60 ? ["minute", minutes] : minutes < 1440 ? ["hour", minutes / 60] : ["day", minutes / 1440];
	return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "long" }).format(Math.floor(value));
}

/** Show the page in another language, from now on. */
export function switchLanguage(name) {
	const secure = location.protocol === "https:" ? "; secure" : "";
	document.cookie = `django_language=${name}; path=/; max-age=31536000; samesite=lax${secure}`;
	location.reload();
}

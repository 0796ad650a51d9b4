/** Numbers and times in words. */

import assert from "node:assert/strict";
import { test } from "node:test";

const DAY = 86_400_000;
// Milliseconds, in words: long in English and Arabic, short in English.
const DURATIONS = [
	[0, "1 minute", "دقيقة", "1 min"],
	[59_999, "1 minute", "دقيقة", "1 min"],
	[2 * 60_000, "2 minutes", "دقيقتان", "2 mins"],
	[DAY / 24 - 1, "59 minutes", "٥٩ دقيقة", "59 mins"],
	[DAY / 24, "1 hour", "ساعة", "1 hr"],
	[DAY - 1, "23 hours", "٢٣ ساعة", "23 hrs"],
	[DAY, "1 day", "يوم", "1 day"],
	[30 * DAY - 1, "29 days", "٢٩ يومًا", "29 days"],
	[30 * DAY, "1 month", "شهر", "1 mth"],
	[364 * DAY, "12 months", "١٢ شهرًا", "12 mths"],
	[365 * DAY, "1 year", "سنة", "1 yr"],
	[375 * DAY, "1 year", "سنة", "1 yr"],
	[3 * 365 * DAY, "3 years", "٣ سنوات", "3 yrs"],
];

async function textsIn(language, spoken) {
	const textContent = JSON.stringify({ language, catalogue: {} });
	globalThis.document = { getElementById: () => ({ textContent }) };
	Object.defineProperty(globalThis, "navigator", { value: { languages: [spoken] }, configurable: true });
	return import(`../../chat/static/chat/texts.js?${language}`);
}

test("a duration is said in the largest unit that fits", async (t) => {
	t.mock.timers.enable({ apis: ["Date"], now: Date.UTC(2026, 0, 1) });
	const english = await textsIn("en", "en-GB");
	const arabic = await textsIn("ar", "ar-EG");
	for (const [milliseconds, long, inArabic, short] of DURATIONS) {
		const since = Date.now() - milliseconds;
		const said = [english.durationSince(since), arabic.durationSince(since), english.durationSince(since, "short")];
		assert.deepEqual(said, [long, inArabic, short]);
	}
});

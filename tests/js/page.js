/** Browser features for clients in Node: storage shared by tabs, visibility, going online. */

/** One origin: its tabs, and the `localStorage` that they share. */
export class Origin {
	items = new Map();
	tabs = new Set();

	/** A new tab; its `options` are options of the client. */
	tab() {
		const tab = new Tab(this);
		this.tabs.add(tab);
		return tab;
	}

	changed(by, key, newValue) {
		for (const tab of this.tabs) {
			if (tab !== by) tab.window.dispatchEvent(Object.assign(new Event("storage"), { key, newValue }));
		}
	}
}

class Tab {
	window = new EventTarget();
	document = Object.assign(new EventTarget(), { visibilityState: "visible" });

	constructor(origin) {
		const { items } = origin;
		this.origin = origin;
		this.storage = {
			get length() {
				return items.size;
			},
			key: (index) => [...items.keys()][index] ?? null,
			getItem: (key) => items.get(key) ?? null,
			setItem: (key, value) => {
				items.set(key, String(value));
				origin.changed(this, key, String(value));
			},
			removeItem: (key) => {
				if (items.delete(key)) origin.changed(this, key, null);
			},
		};
	}

	get options() {
		return { storage: this.storage, window: this.window, document: this.document };
	}

	online() {
		this.window.dispatchEvent(new Event("online"));
	}

	offline() {
		this.window.dispatchEvent(new Event("offline"));
	}

	hide() {
		this.document.visibilityState = "hidden";
		this.document.dispatchEvent(new Event("visibilitychange"));
	}

	show() {
		this.document.visibilityState = "visible";
		this.document.dispatchEvent(new Event("visibilitychange"));
	}

	/** The user closes it: it gets no more events. */
	close() {
		this.origin.tabs.delete(this);
	}
}

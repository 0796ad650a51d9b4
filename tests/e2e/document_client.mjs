// The client of the user's document (chat-websocket-api.md, 5), run outside a browser and a framework.
//
// node document_client.mjs ORIGIN COOKIE WS_PATH HISTORY_PATH
//
// Reads and writes lines of JSON. In: {"type": TEXT} types into the field and presses Enter. Out: {"shown": {...}} after
// each rendering that changed what a user sees, {"console": [...]} for each console.error of the client.

import { createInterface } from 'node:readline';

const [origin, cookie, wsPathArgument, historyPath] = process.argv.slice(2);
const out = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// --- a minimal host: only what the component needs of a browser and of React

globalThis.window = { location: new URL(origin) };
console.log = () => {};
console.error = (...words) => out({ console: words.map((word) => (typeof word === 'string' ? word : String(word))) });

// A browser sends cookie and origin by itself; in Node they are an option.
globalThis.WebSocket = class extends globalThis.WebSocket {
	constructor(url) {
		super(url, { headers: { cookie, origin } });
	}
};

const slots = [];
let position = 0;
const effects = [];
let scheduled = false;

const slot = (create) => {
	if (position === slots.length) slots.push(create());
	return slots[position++];
};
const changed = (before, after) => !before || after.some((value, index) => !Object.is(value, before[index]));

const useState = (initial) => {
	const own = slot(() => ({ value: initial }));
	const set = (next) => {
		own.value = typeof next === 'function' ? next(own.value) : next;
		schedule();
	};
	return [own.value, set];
};
const useRef = (initial) => slot(() => ({ current: initial }));
const useCallback = (callback, dependencies) => {
	const own = slot(() => ({}));
	if (changed(own.dependencies, dependencies)) Object.assign(own, { callback, dependencies });
	return own.callback;
};
const useEffect = (effect, dependencies) => {
	const own = slot(() => ({}));
	if (changed(own.dependencies, dependencies)) effects.push([own, effect, dependencies]);
};
const element = (type, properties, ...children) => ({ type, properties: properties ?? {}, children: children.flat() });

// --- the document's component, word for word except for three things: a stray word in the test of the protocol is gone,
// JSX is written as calls of element(), and the history is fetched where the document's comment says so

const ChatInterface = ({ wsPath, conversationIdForDisplay }) => {
	const [messages, setMessages] = useState([]);
	const [inputValue, setInputValue] = useState('');
	const [isConnected, setIsConnected] = useState(false);
	const socketRef = useRef(null);

	const connectWebSocket = useCallback(() => {
		// Construct the full WebSocket URL
		const protocol = window.location.protocol === 'https:' ? 'wss:' : 'ws:';
		const host = window.location.host; // Or your specific API host
		const fullWsUrl = `${protocol}//${host}/ws/chat${wsPath}`; // wsPath is e.g., "/my-conversation/"

		console.log('Attempting to connect to:', fullWsUrl);
		socketRef.current = new WebSocket(fullWsUrl);

		socketRef.current.onopen = () => {
			console.log('WebSocket connection opened');
			// setIsConnected(true); // Wait for 'connection_established' message
		};

		socketRef.current.onmessage = (event) => {
			const data = JSON.parse(event.data);
			console.log('Received message:', data);

			if (data.type === 'connection_established') {
				setIsConnected(true);
				console.log('Connection established for conversation:', data.conversation_id);
				// You might want to fetch historical messages via REST API here if not already loaded
				fetchHistory().then((history) => setMessages((live) => [...history, ...live]));
			} else if (data.type === 'new_message') {
				setMessages((prevMessages) => [...prevMessages, data.message]);
				// If !data.message.is_own_message, you might want to trigger a "mark as read"
				// action via REST API or a WebSocket message if implemented.
			} else if (data.error) {
				console.error('WebSocket server error:', data.error);
				// Handle error display
			}
		};

		socketRef.current.onclose = (event) => {
			console.log('WebSocket connection closed:', event.code, event.reason);
			setIsConnected(false);
			// Implement reconnection logic if desired
		};

		socketRef.current.onerror = (error) => {
			console.error('WebSocket error:', error);
			setIsConnected(false);
			// Handle error display or reconnection
		};
	}, [wsPath]);

	useEffect(() => {
		connectWebSocket();

		return () => {
			if (socketRef.current) {
				console.log('Closing WebSocket connection');
				socketRef.current.close();
			}
		};
	}, [connectWebSocket]); // Reconnect if wsPath changes

	const handleSendMessage = () => {
		if (socketRef.current && socketRef.current.readyState === WebSocket.OPEN && inputValue.trim()) {
			socketRef.current.send(JSON.stringify({ message: inputValue }));
			setInputValue('');
		}
	};

	return element(
		'div',
		null,
		element('div', null, 'Status: ', isConnected ? 'Connected' : 'Disconnected'),
		element(
			'div',
			{ className: 'message-list' },
			messages.map((msg) =>
				element(
					'div',
					{ key: msg.id, className: msg.is_own_message ? 'my-message' : 'other-message' },
					element('strong', null, msg.sender_profile?.username || 'System', ': '),
					msg.content,
					element('span', { className: 'timestamp' }, new Date(msg.timestamp).toLocaleTimeString()),
				),
			),
		),
		element('input', {
			type: 'text',
			value: inputValue,
			onChange: (e) => setInputValue(e.target.value),
			onKeyPress: (e) => e.key === 'Enter' && handleSendMessage(),
			disabled: !isConnected,
		}),
		element('button', { onClick: handleSendMessage, disabled: !isConnected }, 'Send'),
	);
};

// --- the page around it

async function fetchHistory() {
	const response = await fetch(origin + historyPath, { headers: { cookie } });
	return (await response.json()).results;
}

const text = (node) => (typeof node === 'string' ? node : node.children.map(text).join(''));

let view;
let lastShown;

function render() {
	position = 0;
	view = ChatInterface({ wsPath: wsPathArgument });
	for (const [own, effect, dependencies] of effects.splice(0)) {
		own.cleanUp?.();
		Object.assign(own, { dependencies, cleanUp: effect() });
	}
	const [status, list, input, button] = view.children;
	const shown = {
		status: text(status),
		bubbles: list.children.map((bubble) => {
			const [name, content, time] = bubble.children;
			if (time.children[0] === 'Invalid Date') throw new Error('a timestamp that no browser reads');
			return [bubble.properties.className, text(name), content];
		}),
		field: input.properties.value,
		disabled: input.properties.disabled && button.properties.disabled,
	};
	if (JSON.stringify(shown) !== lastShown) out({ shown });
	lastShown = JSON.stringify(shown);
}

function schedule() {
	if (scheduled) return;
	scheduled = true;
	queueMicrotask(() => {
		scheduled = false;
		render();
	});
}

render();

for await (const line of createInterface({ input: process.stdin })) {
	view.children[2].properties.onChange({ target: { value: JSON.parse(line).type } });
	await new Promise(queueMicrotask); // the field must show it before the next key, as in a browser
	view.children[2].properties.onKeyPress({ key: 'Enter' });
}
for (const own of slots) own.cleanUp?.(); // as React does when the page is left

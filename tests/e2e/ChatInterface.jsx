// Example in a Next.js component (e.g., components/ChatInterface.js)
import React, { useState, useEffect, useRef, useCallback } from 'react';

const ChatInterface = ({ wsPath, conversationIdForDisplay }) => {
  const [messages, setMessages] = useState([]);
  const [inputValue, setInputValue] = useState('');
  const [isConnected, setIsConnected] = useState(false);
  const socketRef = useRef(null);

  const connectWebSocket = useCallback(() => {
    // Construct the full WebSocket URL
    const protocol = window.location.protocol === 'https лидер:' ? 'wss:' : 'ws:';
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

  return (
    <div>
      {/* Display conversationIdForDisplay or other info */}
      <div>Status: {isConnected ? 'Connected' : 'Disconnected'}</div>
      <div className="message-list">
        {messages.map((msg) => (
          <div key={msg.id} className={msg.is_own_message ? 'my-message' : 'other-message'}>
            <strong>{msg.sender_profile?.username || 'System'}: </strong>
            {msg.content}
            <span className="timestamp">{new Date(msg.timestamp).toLocaleTimeString()}</span>
          </div>
        ))}
      </div>
      <input
        type="text"
        value={inputValue}
        onChange={(e) => setInputValue(e.target.value)}
        onKeyPress={(e) => e.key === 'Enter' && handleSendMessage()}
        disabled={!isConnected}
      />
      <button onClick={handleSendMessage} disabled={!isConnected}>Send</button>
    </div>
  );
};

export default ChatInterface;

// How to use it:
// For Student: <ChatInterface wsPath="/my-conversation/" />
// For Teacher: <ChatInterface wsPath={`/conversations/${currentConversationId}/`} conversationIdForDisplay={currentConversationId} />

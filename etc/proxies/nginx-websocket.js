// Limits WebSocket messages: nginx itself does not. Used by nginx-websocket.conf; runs in nginx's stream module njs.
//
// Reads the frames that a client sends after its HTTP request (RFC 6455, 5.2). A longer message, also one in many
// frames, closes the connection before it is complete.

const MAX_MESSAGE = 64000;  // bytes
const MAX_CONTROL = 125;  // bytes of a ping, pong or close

function limit(session) {
    let pending = Buffer.alloc(0);  // bytes of a request or of a frame's header that is not complete
    let upgraded = false;
    let missing = 0;  // bytes of the current frame's payload that have not arrived
    let size = 0;  // bytes of the current message, in all its frames

    session.on("upstream", function (data, flags) {
        const bytes = Buffer.concat([pending, data]);
        let at = 0;
        if (!upgraded) {
            at = bytes.indexOf("\r\n\r\n") + 4;
            upgraded = at > 3;
        }
        while (upgraded && at < bytes.length) {
            if (missing > 0) {
                const step = Math.min(missing, bytes.length - at);
                missing -= step;
                at += step;
                continue;
            }
            const frame = header(bytes, at);
            if (frame === null) {
                break;
            }
            if (frame.control) {
                check(frame.length <= MAX_CONTROL);
            } else {
                size += frame.length;
                check(size <= MAX_MESSAGE);
                size = frame.final ? 0 : size;
            }
            missing = frame.length;
            at += frame.size;
        }
        pending = upgraded ? bytes.slice(at) : bytes;
        session.send(data, flags);
    });
}

// Returns the frame whose header begins at an index, or null if the header is not complete.
function header(bytes, at) {
    if (bytes.length - at < 2) {
        return null;
    }
    let length = bytes[at + 1] & 127;
    const extended = length === 127 ? 8 : length === 126 ? 2 : 0;
    const size = 2 + extended + (bytes[at + 1] & 128 ? 4 : 0);
    if (bytes.length - at < size) {
        return null;
    }
    if (extended) {
        length = 0;
        for (let index = at + 2; index < at + 2 + extended; index++) {
            length = length * 256 + bytes[index];
        }
    }
    return {size, length, final: bytes[at] >= 128, control: (bytes[at] & 8) !== 0};
}

// An exception closes the connection.
function check(valid) {
    if (!valid) {
        throw new Error(`a WebSocket message is longer than ${MAX_MESSAGE} bytes`);
    }
}

export default {limit};

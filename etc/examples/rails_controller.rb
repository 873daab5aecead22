# Rails: app/controllers/chat_sessions_controller.rb, with this in config/routes.rb:
#
#     get "/chat-session", to: "chat_sessions#show"
#
# and `new ChatSession(bosh, changed, "/chat-session", "GET")` in the page, because Rails requires a token for a POST.
# Only net/http of the standard library is needed. `current_user` is your application's, for example Devise's.

require "json"
require "net/http"

class ChatSessionsController < ApplicationController
  WARMSIDE = URI(ENV.fetch("WARMSIDE", "http://127.0.0.1:5281") + "/warm")

  # Return JID, SID and RID for the logged-in user. The JID comes from the login, never from the browser.
  # `chat_name` must have neither @ nor /, because it becomes a part of the JID.
  def show
    response.headers["Cache-Control"] = "no-store"
    return render(json: {error: "log in first"}, status: :forbidden) unless current_user

    request = Net::HTTP::Post.new(WARMSIDE, "Accept" => "application/json", "Content-Type" => "application/json")
    request.basic_auth("webapp", ENV.fetch("WARMSIDE_PASSWORD"))
    # a bare JID: each tab gets its own session
    request.body = {jid: "#{current_user.chat_name}@#{ENV.fetch("CHAT_HOST", "example.org")}"}.to_json
    reply = Net::HTTP.start(WARMSIDE.host, WARMSIDE.port, use_ssl: WARMSIDE.scheme == "https",
                            open_timeout: 5, read_timeout: 15) { |http| http.request(request) }
    return render(json: reply.body) if reply.is_a?(Net::HTTPOK)

    logger.error("warmside: status #{reply.code}: #{reply.body.to_s[0, 500]}")
    render(json: {error: "the chat is not available; try again later"}, status: :bad_gateway)
  rescue SystemCallError, Timeout::Error => error
    logger.error("warmside: request failed: #{error.message}")
    render(json: {error: "the chat is not available; try again later"}, status: :bad_gateway)
  end
end

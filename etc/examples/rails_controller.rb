# Rails: app/controllers/chat_sessions_controller.rb, with this in config/routes.rb:
#
#     get "/chat-session", to: "chat_sessions#show"
#
# and `new ChatSession(bosh, changed, "/chat-session", "GET")` in the page: Rails wants a token for a POST.
# It needs nothing but Ruby's own net/http. `current_user` is your application's, for example Devise's.

require "json"
require "net/http"

class ChatSessionsController < ApplicationController
  WARMSIDE = URI(ENV.fetch("WARMSIDE", "http://127.0.0.1:5281") + "/warm")

  # `chat_name` goes into a JID, and must have neither @ nor /.
  # JID, SID and RID for whoever is logged in here. Nothing that the browser sends has a say in who that is.
  def show
    response.headers["Cache-Control"] = "no-store"
    return render(json: {error: "log in first"}, status: :forbidden) unless current_user

    request = Net::HTTP::Post.new(WARMSIDE, "Accept" => "application/json", "Content-Type" => "application/json")
    request.basic_auth("webapp", ENV.fetch("WARMSIDE_PASSWORD"))
    # bare: each tab gets a session of its own
    request.body = {jid: "#{current_user.chat_name}@#{ENV.fetch("CHAT_HOST", "example.org")}"}.to_json
    reply = Net::HTTP.start(WARMSIDE.host, WARMSIDE.port, use_ssl: WARMSIDE.scheme == "https",
                            open_timeout: 5, read_timeout: 15) { |http| http.request(request) }
    return render(json: reply.body) if reply.is_a?(Net::HTTPOK)

    logger.error("warmside answered #{reply.code}: #{reply.body.to_s[0, 500]}")
    render(json: {error: "the chat is not available now"}, status: :bad_gateway)
  rescue SystemCallError, Timeout::Error => error
    logger.error("warmside can't be reached: #{error.message}")
    render(json: {error: "the chat is not available now"}, status: :bad_gateway)
  end
end
